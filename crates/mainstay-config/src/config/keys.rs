//! Who may ask, and how much.

use std::fmt;
use std::sync::Arc;

use mainstay_policy::limit::{Priority, Rate};

/// Who may ask. Where there is none of this, everybody may.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Keys {
    /// Those who have a name here, in the order of the file.
    pub callers: Vec<Caller>,
    /// Tokens that somebody else signs.
    pub jwt: Option<Jwt>,
}

/// One caller.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Caller {
    /// Shown in status and metrics, and told to servers.
    pub name: Arc<str>,
    /// Hashes of its keys: the keys themselves are not kept.
    pub keys: Vec<KeyHash>,
    /// The subject of its tokens.
    pub token_subject: Option<Arc<str>>,
    /// A name on its client certificate.
    pub subject: Option<Arc<str>>,
    /// What it may do.
    pub grant: Grant,
}

/// What a caller may do.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Grant {
    /// The models that it may ask. Default all.
    pub models: Option<Vec<Arc<str>>>,
    /// How much its requests matter. Default as listener and model say.
    pub priority: Option<Priority>,
    /// How often. Default no bound.
    pub rate: Option<Rate>,
    /// How many at once. Default no bound.
    pub concurrency: Option<u32>,
}

impl Grant {
    /// Whether this model may be asked, which `route` serves: by its name, or where the route
    /// takes any name and the grant all that it takes.
    #[must_use]
    pub fn allows(&self, route: &str, model: &str) -> bool {
        self.models.as_ref().is_none_or(|models| {
            models.iter().any(|it| **it == *model || (**it == *"*" && route == "*"))
        })
    }
}

/// Tokens that somebody else signs.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Jwt {
    /// Who has signed them, for whom, with which keys.
    pub verifier: mainstay_jwt::Verifier,
    /// What bearers may do who have no name of their own here.
    pub grant: Grant,
}

/// A hash of a key, by which it is known and from which it cannot be found. Compared in constant
/// time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash(blake3::Hash);

impl KeyHash {
    /// The hash of a key.
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        Self(blake3::hash(key))
    }

    /// Its beginning, to find candidates by.
    #[must_use]
    pub fn prefix(&self) -> [u8; 8] {
        self.0.as_bytes().first_chunk().copied().unwrap_or_default()
    }
}

/// Not even the hash is shown: a short key could be guessed from it.
impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(..)")
    }
}

//! JSON Web Tokens (RFC 7519) of clients: signed by somebody whom the operator names, for us, and
//! not expired.
//!
//! What a token says of its own signature is not believed (RFC 8725): the algorithms are those
//! that the configuration names, all of them with public keys, and a key serves only algorithms
//! of its kind. So `none` is no algorithm, and a public key is never taken for a shared secret.
//! The cryptography is ring's, as for TLS: jsonwebtoken takes it from `provider`.

mod keys;
mod provider;

use std::fmt;
use std::str::FromStr;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Validation, decode, decode_header};
use serde::Deserialize;

use keys::Key;

/// Clocks of gateway and issuer may differ by so many seconds.
const LEEWAY: u64 = 30;

/// No token is longer; a header could carry more.
const LONGEST: usize = 8 * 1024;

/// Keys that one token is tried on: a stranger must not buy more work than this.
const TRIED: usize = 4;

/// The most keys of a set.
const MOST_KEYS: usize = 64;

/// Signatures that can be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Algorithm(jsonwebtoken::Algorithm);

/// What a token must be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Who has signed it (`iss`).
    pub issuer: String,
    /// For whom it is (`aud`): one of these.
    pub audience: Vec<String>,
    /// How it may be signed; at least one.
    pub algorithms: Vec<Algorithm>,
}

/// Verifies tokens.
#[derive(Clone)]
pub struct Verifier {
    rules: Rules,
    keys: Vec<Key>,
}

/// What a good token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Who asks (`sub`).
    pub subject: String,
    /// The second since 1970 after which it is not valid any more.
    pub expires: u64,
}

/// Why a token is refused. Says nothing that is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is no token, or signed in a way that is not allowed.
    #[error("it is no token that is taken here")]
    Malformed,
    /// Nobody known has signed it.
    #[error("its signature is not one of a known key")]
    Signature,
    /// It is over, or has not begun.
    #[error("it is not valid at this time")]
    Time,
    /// It is another issuer's, or for somebody else.
    #[error("it is not of the right issuer, or not for this gateway")]
    Elsewhere,
}

/// Keys that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadKeys(pub(crate) String);

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: u64,
}

impl Verifier {
    /// A verifier with these keys: a set of JSON Web Keys (RFC 7517), or public keys in PEM.
    ///
    /// # Errors
    /// There is no key in it that serves one of the algorithms.
    pub fn new(keys: &str, rules: Rules) -> Result<Self, BadKeys> {
        provider::install();
        let algorithms: Vec<_> = rules.algorithms.iter().map(|it| it.0).collect();
        let mut keys = keys::read(keys)?;
        keys.retain(|key| algorithms.iter().any(|algorithm| key.serves(*algorithm)));
        if keys.len() > MOST_KEYS {
            return Err(BadKeys(format!("there are more than {MOST_KEYS} keys in it")));
        }
        if keys.is_empty() {
            return Err(BadKeys("no key in it serves one of the algorithms".to_owned()));
        }
        Ok(Self { rules, keys })
    }

    /// Who asks by this token.
    ///
    /// # Errors
    /// It is not to be trusted.
    pub fn verify(&self, token: &str) -> Result<Token, Refused> {
        if token.len() > LONGEST {
            return Err(Refused::Malformed);
        }
        let header = decode_header(token).map_err(|_| Refused::Malformed)?;
        if !self.rules.algorithms.contains(&Algorithm(header.alg)) {
            return Err(Refused::Malformed);
        }
        let mut validation = Validation::new(header.alg);
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        validation.set_required_spec_claims(&["exp", "sub", "iss", "aud"]);
        validation.set_issuer(&[&self.rules.issuer]);
        validation.set_audience(&self.rules.audience);
        let mut refused = Refused::Signature;
        let fitting = self.keys.iter().filter(|key| key.may_be(header.alg, header.kid.as_deref()));
        for key in fitting.take(TRIED) {
            match decode::<Claims>(token, &key.key, &validation) {
                Ok(data) => {
                    let Claims { sub, exp } = data.claims;
                    return Ok(Token { subject: sub, expires: exp });
                }
                Err(error) => match why(error.kind()) {
                    Refused::Signature => {}
                    other => refused = other,
                },
            }
        }
        Err(refused)
    }
}

impl PartialEq for Verifier {
    fn eq(&self, other: &Self) -> bool {
        self.rules == other.rules && self.keys == other.keys
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self.keys.iter().map(Key::name).collect();
        f.debug_struct("Verifier").field("rules", &self.rules).field("keys", &keys).finish()
    }
}

impl FromStr for Algorithm {
    type Err = ();

    /// By its name in RFC 7518; those with shared secrets are none.
    fn from_str(name: &str) -> Result<Self, ()> {
        match jsonwebtoken::Algorithm::from_str(name) {
            Ok(algorithm) if !matches!(name, "HS256" | "HS384" | "HS512") => Ok(Self(algorithm)),
            Ok(_) | Err(_) => Err(()),
        }
    }
}

fn why(kind: &ErrorKind) -> Refused {
    match kind {
        ErrorKind::InvalidSignature => Refused::Signature,
        ErrorKind::ExpiredSignature | ErrorKind::ImmatureSignature => Refused::Time,
        ErrorKind::InvalidIssuer | ErrorKind::InvalidAudience => Refused::Elsewhere,
        _ => Refused::Malformed,
    }
}

#[cfg(test)]
mod tests;

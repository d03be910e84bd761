//! Under what an answer is remembered.

use http::header::CONTENT_ENCODING;
use mainstay_protocol::form;

use super::Rule;
use crate::poison::first_128;
use crate::request::{Question, hash_caller};

/// 128 bits of a hash over model, version, caller and what is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key(pub(crate) u128);

/// The key of a prediction; `None` for a body that cannot be read.
pub(super) fn of(ask: Question<'_>, rule: &Rule) -> Option<Key> {
    if ask.headers.contains_key(CONTENT_ENCODING) {
        return None;
    }
    let mut hasher = blake3::Hasher::new();
    // The path has the version that the client named, the lineage the one of the chain.
    for part in [ask.model.as_bytes(), ask.uri.to_string().as_bytes()] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.update(&rule.lineage.to_le_bytes());
    hasher.update(&[u8::from(rule.shared)]);
    if !rule.shared {
        hash_caller(&mut hasher, ask.headers);
    }
    let feed = |part: &[u8]| {
        hasher.update(part);
    };
    form::identity(ask.protocol, (ask.body, ask.json_len), feed).ok()?;
    Some(Key(first_128(&hasher.finalize())))
}

//! Who may ask: keys that can be read and are nobody else's, and tokens that can be verified.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use mainstay_jwt::{Rules, Verifier};
use mainstay_policy::limit::Rate;

use super::{Review, check, concurrency, is_name, may_be_lost};
use crate::code::Code;
use crate::config::{Caller, Grant, Jwt, KeyHash, Keys, Model};
use crate::raw::{Opt, RawCaller, RawJwt, RawKeys, RawPriority};
use crate::reader::shorten;
use crate::source::Span;
use crate::spanned::Spanned;

/// A shorter key could be guessed.
const SHORTEST: usize = 16;
/// The most callers: each has a few counters.
const MOST: usize = 10_000;
/// The largest file of public keys, in bytes.
const LARGEST: u64 = 1 << 20;
/// Algorithms of tokens where none are named.
const ALGORITHMS: [&str; 2] = ["ES256", "RS256"];

/// Who may ask; `None` where everybody may.
pub(super) fn keys(review: &mut Review, raw: &Opt<RawKeys>, models: &[Model]) -> Option<Keys> {
    let written = raw.as_ref()?;
    let entries = written.callers.as_ref().map_or(&[][..], |callers| &callers.value.0);
    if entries.is_empty() && written.jwt.is_none() && !written.damaged {
        let message = "nobody may ask: there are neither callers nor tokens";
        let help = "add callers, or leave the section out to serve everybody";
        review.fault(Code::Keys, written.span, message, help);
    }
    if let Some((name, _)) = entries.get(MOST) {
        let message = format!("at most {MOST} callers can be known");
        review.fault(Code::Keys, name.span, message, "let an issuer sign tokens for them");
    }
    let mut seen = Seen::default();
    let callers: Vec<_> = entries
        .iter()
        .take(MOST)
        .map(|(name, raw)| caller(review, name, raw, (&mut seen, models)))
        .collect();
    let jwt = written.jwt.as_ref().and_then(|raw| jwt(review, raw, models));
    Some(Keys { callers, jwt })
}

fn caller(
    review: &mut Review,
    name: &Spanned<String>,
    raw: &Spanned<RawCaller>,
    (seen, models): (&mut Seen, &[Model]),
) -> Caller {
    if !is_name(name) || **name == *"jwt" || name.starts_with("jwt:") {
        let message = format!("{:?} cannot be the name of a caller", shorten(name));
        let help =
            "use letters, digits and . _ - : [ ] only; `jwt` and what begins with jwt: are taken";
        review.fault(Code::BadValue, name.span, message, help);
    }
    let mut keys = Vec::new();
    let whole = raw.key.as_ref().map_or(raw.span, |sources| sources.span);
    for source in raw.key.iter().flat_map(|sources| &sources.value.0) {
        // One alone has its place from its key.
        let place = if source.span == Span::default() { whole } else { source.span };
        let secret = match check::secret(review, source) {
            Ok(secret) => secret,
            Err(refusal) => {
                review.refuse(place, refusal);
                continue;
            }
        };
        let key = secret.expose();
        if key.len() < SHORTEST || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            let message =
                format!("a key of caller {:?} is too short, or no header can carry it", name.value);
            let help = "make one by `openssl rand -hex 32`";
            review.fault(Code::Keys, place, message, help);
        }
        let hash = KeyHash::of(key.as_bytes());
        if !seen.keys.insert(hash.prefix()) {
            let message =
                format!("a key of caller {:?} was given to another one before", name.value);
            review.fault(Code::Keys, place, message, "each caller needs keys of its own");
        }
        keys.push(hash);
    }
    let limits = Limits {
        models: &raw.models,
        priority: &raw.priority,
        rate: &raw.rate,
        burst: &raw.burst,
        concurrency: &raw.concurrency,
    };
    Caller {
        name: name.value.as_str().into(),
        keys,
        subject: own(review, &raw.subject, &mut seen.subjects),
        token_subject: own(review, &raw.token_subject, &mut seen.token_subjects),
        grant: grant(review, &limits, models),
    }
}

/// By what callers are known so far.
#[derive(Default)]
struct Seen {
    keys: HashSet<[u8; 8]>,
    subjects: HashSet<String>,
    token_subjects: HashSet<String>,
}

/// A name by which nobody else is known.
fn own(review: &mut Review, written: &Opt<String>, seen: &mut HashSet<String>) -> Option<Arc<str>> {
    let name = written.as_ref()?;
    if name.value.is_empty() || !seen.insert(name.value.clone()) {
        let message = format!("{:?} is empty, or another caller's", shorten(name));
        review.fault(Code::Keys, name.span, message, "each caller is known by names of its own");
    }
    Some(name.value.as_str().into())
}

/// What is written of a grant.
struct Limits<'r> {
    models: &'r Opt<Vec<Spanned<String>>>,
    priority: &'r Opt<RawPriority>,
    rate: &'r Opt<f64>,
    burst: &'r Opt<u32>,
    concurrency: &'r Opt<u32>,
}

fn grant(review: &mut Review, raw: &Limits<'_>, models: &[Model]) -> Grant {
    let allowed = raw.models.as_ref().map(|names| {
        let known = |name: &str| {
            models.iter().any(|model| matches!(&*model.name, "*") || *model.name == *name)
        };
        for name in names.value.iter().filter(|name| !known(name)) {
            let message = format!("there is no model {:?}", shorten(name));
            review.fault(Code::UnknownName, name.span, message, "name models that are declared");
        }
        names.value.iter().map(|name| Arc::from(name.value.as_str())).collect()
    });
    let rate = raw.rate.as_ref().and_then(|rate| {
        if !(rate.value > 0.0 && rate.value <= 1e9) {
            let message = format!("expected requests a second above 0, found {}", rate.value);
            review.fault(Code::BadValue, rate.span, message, "leave the key out for no bound");
            return None;
        }
        let usual = rate.value.ceil().clamp(1.0, 1e9) as u32;
        Some(Rate::new(rate.value, review.number(raw.burst, 1..=1_000_000_000, usual)))
    });
    if let (Some(burst), None) = (raw.burst, raw.rate) {
        let message = "a burst belongs to a rate";
        review.fault(Code::Contradiction, burst.span, message, "add `rate`, or take it out");
    }
    let concurrency =
        raw.concurrency.is_some().then(|| review.number(raw.concurrency, 1..=1_000_000, 1_u32));
    Grant { models: allowed, priority: concurrency::priority(raw.priority), rate, concurrency }
}

fn jwt(review: &mut Review, raw: &Spanned<RawJwt>, models: &[Model]) -> Option<Jwt> {
    let written = |review: &mut Review, key: &Opt<String>, name: &str| {
        if key.is_none() && !may_be_lost(raw, key) {
            let message = format!("tokens are not accepted without `{name}`");
            let help = "write {issuer: URL, audience: NAME, keys: FILE}";
            review.fault(Code::Missing, raw.span, message, help);
        }
        key.as_ref().map(|key| key.value.clone())
    };
    let issuer = written(review, &raw.issuer, "issuer");
    let audience = written(review, &raw.audience, "audience");
    let file = written(review, &raw.keys, "keys");
    let algorithms = algorithms(review, &raw.algorithms);
    let limits = Limits {
        models: &raw.models,
        priority: &raw.priority,
        rate: &raw.rate,
        burst: &raw.burst,
        concurrency: &raw.concurrency,
    };
    let grant = grant(review, &limits, models);
    let (issuer, audience, _) = (issuer?, audience?, file?);
    let place = raw.keys.as_ref()?;
    let rules = Rules { issuer, audience: vec![audience], algorithms };
    match verifier(&review.path(place), rules) {
        Ok(verifier) => Some(Jwt { verifier, grant }),
        Err(why) => {
            let help = "name a file of public keys, as a JWKS or in PEM";
            review.fault(
                Code::Keys,
                place.span,
                format!("the issuer's keys cannot be used: {why}"),
                help,
            );
            None
        }
    }
}

fn algorithms(
    review: &mut Review,
    raw: &Opt<Vec<Spanned<String>>>,
) -> Vec<mainstay_jwt::Algorithm> {
    let Some(written) = raw else {
        return ALGORITHMS.iter().filter_map(|name| name.parse().ok()).collect();
    };
    let mut found = Vec::new();
    for name in &written.value {
        match name.parse() {
            Ok(algorithm) => found.push(algorithm),
            Err(()) => {
                let message = format!("{:?} is no signature that is accepted", shorten(name));
                let help = "use RS256, PS256, ES256, EdDSA or their longer ones; `none` and shared \
                            secrets (HS256) are not accepted";
                review.fault(Code::Keys, name.span, message, help);
            }
        }
    }
    if written.value.is_empty() {
        let message = "no signature would be accepted";
        review.fault(Code::Keys, written.span, message, "name at least one, such as ES256");
    }
    found
}

fn verifier(path: &Path, rules: Rules) -> Result<Verifier, String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_string(&mut text));
    read.map_err(|error| format!("{}: {error}", path.display()))?;
    if text.len() as u64 > LARGEST {
        return Err(format!("{} is larger than 1 MiB", path.display()));
    }
    Verifier::new(&text, rules).map_err(|error| format!("{}: {error}", path.display()))
}

//! Who asks: keys, tokens and client certificates, and what each caller may do.
//!
//! Without a `keys` section there is no table, and a request pays one comparison for that. A key
//! is looked up by the beginning of its hash and compared with the whole hash in constant time:
//! what a guess can learn from the time of the lookup is something of a hash, and not of a key.
//! Tokens that were verified are known again until they expire, since a signature costs more than
//! the rest of a request.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use mainstay_admin::CallerStatus;
use mainstay_config::{Grant, KeyHash, Keys};
use mainstay_jwt::Refused;
use mainstay_policy::Moment;
use mainstay_policy::limit::Bucket;
use mainstay_protocol::certificate::Certificate;
use mainstay_telemetry::Clock;

/// The other header that carries a key.
static API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// To servers: who asks.
pub(crate) const CALLER: HeaderName = HeaderName::from_static("x-mainstay-caller");
/// The name under which tokens without a caller of their own are counted.
const TOKENS: &str = "jwt";
/// Verified tokens that are known again; when so many are known, all are verified anew.
const KNOWN_TOKENS: usize = 4096;
/// The longest subject of a token, in bytes.
const LONGEST_SUBJECT: usize = 256;

/// Everybody who may ask.
#[derive(Debug)]
pub(crate) struct Callers {
    all: Vec<Arc<Caller>>,
    by_key: HashMap<[u8; 8], Vec<(KeyHash, usize)>>,
    by_subject: HashMap<Arc<str>, usize>,
    by_name: HashMap<Arc<str>, usize>,
    by_token: HashMap<Arc<str>, usize>,
    jwt: Option<Tokens>,
    strangers: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Tokens {
    verifier: mainstay_jwt::Verifier,
    /// Whoever has no name of its own.
    others: Arc<Caller>,
    known: Mutex<HashMap<[u8; 32], (Who, u64), RandomState>>,
}

/// Somebody who may ask.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) name: Arc<str>,
    pub(crate) grant: Grant,
    live: Arc<Live>,
}

/// What is counted of one caller, over all configurations.
#[derive(Debug, Default)]
struct Live {
    bucket: Bucket,
    under_way: AtomicU32,
    asked: AtomicU64,
    /// Refused for the model, for the rate, for the number at once.
    refused: [AtomicU64; 3],
}

/// Who asks in one request.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    pub(crate) caller: Arc<Caller>,
    /// As servers are told.
    told: HeaderValue,
}

/// Why a request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// It shows nothing.
    Nameless,
    /// It shows a key that nobody has.
    Unknown,
    /// It shows a token that is not to be trusted.
    Token(Refused),
    /// Its caller may not ask this model.
    Model,
    /// Its caller asks too often; how long until it may again.
    Rate(Duration),
    /// Its caller has too many requests under way.
    AtOnce,
}

/// A request that counts among those of its caller, until it is over.
#[derive(Debug)]
pub(crate) struct Pass(Arc<Live>);

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Callers {
    /// The table of a configuration; callers of the same name go on with what was counted.
    pub(crate) fn new(keys: &Keys, before: Option<&Self>) -> Self {
        let live = |name: &str| {
            let known = before.and_then(|before| before.named(name));
            known.map_or_else(Arc::default, |caller| Arc::clone(&caller.live))
        };
        let caller = |name: &Arc<str>, grant: &Grant| {
            Arc::new(Caller { name: Arc::clone(name), grant: grant.clone(), live: live(name) })
        };
        let mut by_key: HashMap<[u8; 8], Vec<_>> = HashMap::new();
        let (mut by_subject, mut by_name) = (HashMap::new(), HashMap::new());
        let mut by_token = HashMap::new();
        for (at, of) in keys.callers.iter().enumerate() {
            for key in &of.keys {
                by_key.entry(key.prefix()).or_default().push((*key, at));
            }
            by_subject.extend(of.subject.iter().map(|subject| (Arc::clone(subject), at)));
            by_name.insert(Arc::clone(&of.name), at);
            by_token.extend(of.token_subject.iter().map(|subject| (Arc::clone(subject), at)));
        }
        let jwt = keys.jwt.as_ref().map(|jwt| Tokens {
            verifier: jwt.verifier.clone(),
            others: caller(&TOKENS.into(), &jwt.grant),
            known: Mutex::default(),
        });
        let all = keys.callers.iter().map(|of| caller(&of.name, &of.grant)).collect();
        let strangers = before.map_or_else(Arc::default, |it| Arc::clone(&it.strangers));
        Self { all, by_key, by_subject, by_name, by_token, jwt, strangers }
    }

    /// Requests without anything to know them by, or with something wrong.
    pub(crate) fn strangers(&self) -> u64 {
        self.strangers.load(Ordering::Relaxed)
    }

    fn named(&self, name: &str) -> Option<&Arc<Caller>> {
        let tokens = || self.jwt.as_ref().map(|tokens| &tokens.others).filter(|_| name == TOKENS);
        self.by_name.get(name).map(|at| &self.all[*at]).or_else(tokens)
    }

    /// Who asks by these headers, or by the certificate of its connection. What it showed is taken
    /// out of the headers: it was for us, and not for servers.
    pub(crate) fn identify(
        &self,
        headers: &mut HeaderMap,
        certificate: Option<&Certificate>,
        clock: Clock,
    ) -> Result<Who, Denied> {
        let found = self.find(headers, certificate, clock);
        if found.is_err() {
            self.strangers.fetch_add(1, Ordering::Relaxed);
        }
        found
    }

    fn find(
        &self,
        headers: &mut HeaderMap,
        certificate: Option<&Certificate>,
        clock: Clock,
    ) -> Result<Who, Denied> {
        for name in [&API_KEY, &AUTHORIZATION] {
            // Two of them would be one for us and one for somebody else.
            let mut values = headers.get_all(name).iter();
            let (shown, more) = (values.next(), values.next());
            if more.is_some() {
                return Err(Denied::Unknown);
            }
            let Some(shown) = shown.map(|value| credential(name, value.as_bytes())) else {
                continue;
            };
            let who = self.known(shown.ok_or(Denied::Unknown)?, clock)?;
            headers.remove(&API_KEY);
            headers.remove(AUTHORIZATION);
            return Ok(who);
        }
        let certificate = certificate.ok_or(Denied::Nameless)?;
        let shown = std::iter::once(&certificate.subject).chain(&certificate.names);
        let at = shown
            .filter(|name| !name.is_empty())
            .filter_map(|name| self.by_subject.get(name.as_str()))
            .next();
        at.map(|at| Who::new(&self.all[*at], None)).ok_or(Denied::Unknown)
    }

    fn known(&self, shown: &[u8], clock: Clock) -> Result<Who, Denied> {
        let hash = KeyHash::of(shown);
        let candidates = self.by_key.get(&hash.prefix()).into_iter().flatten();
        // Every candidate is compared, and each in constant time.
        let found =
            candidates.fold(None, |found, (key, at)| if *key == hash { Some(*at) } else { found });
        if let Some(at) = found {
            return Ok(Who::new(&self.all[at], None));
        }
        let tokens = self.jwt.as_ref().ok_or(Denied::Unknown)?;
        let text = std::str::from_utf8(shown).map_err(|_| Denied::Unknown)?;
        // Nothing that could be a token: say what is wrong with a key.
        if text.bytes().filter(|byte| *byte == b'.').count() != 2 {
            return Err(Denied::Unknown);
        }
        self.bearer(tokens, text, clock)
    }

    /// Who asks by this token.
    fn bearer(&self, tokens: &Tokens, text: &str, clock: Clock) -> Result<Who, Denied> {
        let id = *blake3::hash(text.as_bytes()).as_bytes();
        let wall = clock.wall(clock.now()).duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let known = || tokens.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((who, expires)) = known().get(&id)
            && wall < *expires
        {
            return Ok(who.clone());
        }
        let token = tokens.verifier.verify(text).map_err(Denied::Token)?;
        if token.subject.len() > LONGEST_SUBJECT {
            // Cut short it could be somebody else's.
            return Err(Denied::Token(Refused::Malformed));
        }
        let own = self.by_token.get(token.subject.as_str()).map(|at| &self.all[*at]);
        let who = Who::new(own.unwrap_or(&tokens.others), own.is_none().then_some(&token.subject));
        let mut known = known();
        if known.len() >= KNOWN_TOKENS {
            known.clear();
        }
        known.insert(id, (who.clone(), token.expires));
        Ok(who)
    }
}

/// Everybody with their counters.
pub(crate) fn status(callers: &Callers) -> Vec<CallerStatus> {
    let tokens = callers.jwt.iter().map(|tokens| &tokens.others);
    let each = |caller: &Arc<Caller>| {
        let [refused_model, refused_rate, refused_concurrency] =
            std::array::from_fn(|at| caller.live.refused[at].load(Ordering::Relaxed));
        CallerStatus {
            name: caller.name.to_string(),
            asked: caller.live.asked.load(Ordering::Relaxed),
            refused_model,
            refused_rate,
            refused_concurrency,
        }
    };
    callers.all.iter().chain(tokens).map(each).collect()
}

impl Who {
    fn new(caller: &Arc<Caller>, subject: Option<&String>) -> Self {
        let token = |subject: &String| format!("{TOKENS}:{}", percent(subject));
        let text = subject.map_or_else(|| caller.name.to_string(), token);
        let told = HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(TOKENS));
        Self { caller: Arc::clone(caller), told }
    }

    /// Marks the request for servers, and for whatever is kept for each caller apart.
    pub(crate) fn mark(&self, headers: &mut HeaderMap) {
        headers.insert(CALLER, self.told.clone());
    }

    /// Lets a request to this model through, or says why not.
    pub(crate) fn enter(&self, (route, model): (&str, &str), now: Moment) -> Result<Pass, Denied> {
        let Caller { grant, live, .. } = &*self.caller;
        let refused = |at: usize, why: Denied| {
            live.refused[at].fetch_add(1, Ordering::Relaxed);
            why
        };
        if !grant.allows(route, model) {
            return Err(refused(0, Denied::Model));
        }
        // Counted first, so that what is over the bound takes nothing from the rate.
        let most = grant.concurrency.unwrap_or(u32::MAX);
        let under_way = live.under_way.fetch_add(1, Ordering::Relaxed);
        let pass = Pass(Arc::clone(live));
        if under_way >= most {
            return Err(refused(2, Denied::AtOnce));
        }
        if let Some(rate) = grant.rate {
            live.bucket.take(rate, now).map_err(|wait| refused(1, Denied::Rate(wait)))?;
        }
        live.asked.fetch_add(1, Ordering::Relaxed);
        Ok(pass)
    }
}

/// What a header shows; `None` for another scheme than `Bearer`, whose name knows no case.
fn credential<'v>(name: &HeaderName, value: &'v [u8]) -> Option<&'v [u8]> {
    if *name != AUTHORIZATION {
        return Some(value);
    }
    let (scheme, shown) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| shown.trim_ascii())
}

/// A text that any header can carry, in which nothing can pass for another one.
fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~@|:/+".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests;

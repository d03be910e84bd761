//! What the sources of one pool come to: one list of endpoints.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mainstay_config::{Config, Endpoint, EndpointUrl};

use crate::source::Source;

/// Endpoints that one pool can have, those in the file included.
const MOST: usize = 1024;

/// The pools of the gateway, as sources of endpoints need them.
pub trait Pools: Send + Sync + fmt::Debug {
    /// From now on these endpoints belong to the pool, beside those in its file, in place of all
    /// that were set before.
    fn set(&self, pool: &str, endpoints: Vec<Endpoint>, cause: &str);

    /// Whether an endpoint gets no new requests because it is leaving.
    fn drain(&self, pool: &str, endpoint: &str, drained: bool);

    /// Whether an endpoint still answers, as far as is known: unless everything there is dead.
    fn answers(&self, pool: &str, endpoint: &str) -> bool;
}

/// How a source stands.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceReport {
    /// The source: `dns models.internal:8000`, `file PATH`, `registered`.
    pub name: String,
    /// Endpoints that it names.
    pub endpoints: Vec<Arc<str>>,
    /// Endpoints that it no longer names and that are drained.
    pub leaving: Vec<Arc<str>>,
    /// Whether all of them are known from before the start.
    pub restored: bool,
    /// Since the last usable answer; `None` before the first.
    pub since_success: Option<Duration>,
    /// What is wrong with it, in one line.
    pub trouble: Option<String>,
    /// Looks that brought something.
    pub succeeded: u64,
    /// Looks that brought nothing, and registrations that were refused.
    pub failed: u64,
}

/// A pool with its sources.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) name: Arc<str>,
    /// Names and URLs in the file.
    fixed: Taken,
    pub(crate) sources: Vec<Source>,
    /// What was set last, with whether it is leaving.
    pub(crate) set: Vec<(Endpoint, bool)>,
}

/// What is named already.
#[derive(Clone, Debug, Default)]
struct Taken {
    names: BTreeSet<Arc<str>>,
    addresses: BTreeSet<String>,
}

impl Taken {
    /// Whether it was free.
    fn take(&mut self, endpoint: &Endpoint) -> bool {
        let address = endpoint.url.authority();
        if self.names.contains(&endpoint.name) || self.addresses.contains(&address) {
            return false;
        }
        self.names.insert(Arc::clone(&endpoint.name));
        self.addresses.insert(address)
    }
}

impl Pool {
    /// The pool at this place of a configuration, without its sources.
    pub(crate) fn new(config: &Config, at: usize) -> Self {
        let pool = &config.pools[at];
        let mut fixed = Taken::default();
        for endpoint in &pool.endpoints {
            fixed.take(endpoint);
        }
        Self { name: Arc::clone(&pool.name), fixed, sources: Vec::new(), set: Vec::new() }
    }

    /// Whether the file has an endpoint with this name, which needs not register.
    pub(crate) fn is_written(&self, name: &str) -> bool {
        self.fixed.names.contains(name)
    }

    /// Whether the file has an endpoint with this address.
    pub(crate) fn is_fixed(&self, url: &EndpointUrl) -> bool {
        self.fixed.addresses.contains(&url.authority())
    }

    /// One list of all that the sources name: the same address is one endpoint, the earlier source
    /// describes it, and who is named anywhere does not leave.
    pub(crate) fn merged(&self) -> Vec<(Endpoint, bool)> {
        let mut taken = self.fixed.clone();
        let mut all = Vec::new();
        for going in [false, true] {
            for source in &self.sources {
                let of = source.members().filter(|(_, leaving)| *leaving == going);
                all.extend(
                    of.filter(|(endpoint, _)| taken.take(endpoint)).map(|(e, l)| (e.clone(), l)),
                );
            }
        }
        all.truncate(MOST.saturating_sub(self.fixed.names.len()));
        all
    }
}

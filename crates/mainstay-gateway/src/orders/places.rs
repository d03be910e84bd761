//! The endpoints of a configuration as orders name them, and how one that changes is told.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mainstay_admin::OrderError;
use mainstay_config::{Config, Site};
use mainstay_control::group::{self, Active, Distance, Mode};
use mainstay_control::orders::{Effect, Place, Scope, Verb};

/// Every endpoint of every pool.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub(super) pools: Vec<PoolPlaces>,
}

/// The endpoints of one pool.
#[derive(Debug)]
pub(super) struct PoolPlaces {
    pub(super) name: Arc<str>,
    /// How long a failure that shows in no request stays unseen.
    pub(super) detection: Duration,
    /// How many are to be in use.
    pub(super) wanted: usize,
    /// Whether standbys wait for an operator.
    pub(super) manual: bool,
    pub(super) endpoints: Vec<EndpointPlace>,
}

/// One endpoint.
#[derive(Debug)]
pub(super) struct EndpointPlace {
    pub(super) name: Arc<str>,
    pub(super) site: Site,
    pub(super) distance: Distance,
    pub(super) weight: f32,
}

/// What orders make of an endpoint; by default nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stand {
    out: Option<Out>,
    weight: f32,
}

/// How an endpoint is kept out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Out {
    Drained,
    Maintenance,
}

impl Places {
    pub(super) fn new(config: &Config) -> Self {
        let pools = config.pools.iter().map(|pool| PoolPlaces {
            name: Arc::clone(&pool.name),
            // The next probe, the row that confirms it, and the last one's limit.
            detection: pool.probe.health.interval
                + pool.probe.health.fast * u32::from(pool.probe.health.fall.saturating_sub(1))
                + pool.probe.health.timeout,
            wanted: match pool.group.active {
                Active::All => pool.endpoints.iter().filter(|e| e.standby.is_none()).count(),
                Active::Between(range) => range.min.into(),
            },
            manual: pool.group.mode == Mode::Manual,
            endpoints: pool
                .endpoints
                .iter()
                .map(|endpoint| EndpointPlace {
                    name: Arc::clone(&endpoint.name),
                    distance: config.node.site.distance(&endpoint.site),
                    site: endpoint.site.clone(),
                    weight: endpoint.weight,
                })
                .collect(),
        });
        Self { pools: pools.collect() }
    }

    pub(super) fn place(&self, (pool, endpoint): (usize, usize)) -> Place<'_> {
        let (pool, at) = (&self.pools[pool], &self.pools[pool].endpoints[endpoint]);
        Place {
            pool: &pool.name,
            endpoint: &at.name,
            zone: at.site.zone.as_deref(),
            region: at.site.region.as_deref(),
        }
    }

    pub(super) fn find(&self, pool: &str, endpoint: &str) -> Option<(usize, usize)> {
        let at = self.pools.iter().position(|known| *known.name == *pool)?;
        let found = self.pools[at].endpoints.iter().position(|known| *known.name == *endpoint)?;
        Some((at, found))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Place<'_>> {
        self.indices().map(|at| self.place(at))
    }

    fn indices(&self) -> impl Iterator<Item = (usize, usize)> {
        let pools = self.pools.iter().enumerate();
        pools.flat_map(|(at, pool)| (0..pool.endpoints.len()).map(move |endpoint| (at, endpoint)))
    }

    /// The endpoints that a scope meets, or the names that there are.
    pub(super) fn meant(&self, scope: &Scope) -> Result<Vec<(usize, usize)>, OrderError> {
        let meant: Vec<_> = self.indices().filter(|at| scope.meets(self.place(*at))).collect();
        if meant.is_empty() { Err(self.unknown(scope)) } else { Ok(meant) }
    }

    fn unknown(&self, scope: &Scope) -> OrderError {
        let names = |names: Vec<&str>| {
            let mut names: Vec<_> = names.into_iter().map(str::to_owned).collect();
            names.sort_unstable();
            names.dedup();
            names
        };
        let pools = || self.pools.iter();
        let (what, name, known) = match scope {
            Scope::Endpoint { pool, endpoint } => match pools().find(|p| *p.name == **pool) {
                Some(known) => {
                    let endpoints = known.endpoints.iter().map(|e| &*e.name).collect();
                    (format!("endpoint of pool {pool}"), endpoint, names(endpoints))
                }
                None => ("pool".to_owned(), pool, names(pools().map(|p| &*p.name).collect())),
            },
            Scope::Pool(pool) => {
                ("pool".to_owned(), pool, names(pools().map(|pool| &*pool.name).collect()))
            }
            Scope::Zone(zone) => {
                ("zone".to_owned(), zone, names(self.all().filter_map(|p| p.zone).collect()))
            }
            Scope::Region(region) => {
                ("region".to_owned(), region, names(self.all().filter_map(|p| p.region).collect()))
            }
        };
        OrderError::Unknown { what, name: name.clone(), known }
    }
}

impl Default for Stand {
    fn default() -> Self {
        Self { out: None, weight: 1.0 }
    }
}

impl Stand {
    /// What these orders make of an endpoint.
    pub(crate) fn under(effect: Effect<'_>) -> Self {
        let out = effect.out.map(|order| match order.verb {
            Verb::Maintenance => Out::Maintenance,
            Verb::Drain | Verb::Weight(_) | Verb::Failover { .. } => Out::Drained,
        });
        let weight = effect.weight.map_or(1.0, |order| match order.verb {
            Verb::Weight(factor) => factor,
            Verb::Drain | Verb::Maintenance | Verb::Failover { .. } => 1.0,
        });
        Self { out, weight }
    }

    /// Whether it is kept out.
    pub(super) const fn is_out(self) -> bool {
        self.out.is_some()
    }

    /// The orders of a group that make it so of what was so before.
    pub(crate) fn orders(self, place: Place<'_>, before: Self) -> Vec<group::Order> {
        let endpoint = || Arc::from(place.endpoint);
        let out = (self.out != before.out).then(|| match self.out {
            Some(Out::Drained) => group::Order::Drain { endpoint: endpoint() },
            Some(Out::Maintenance) => group::Order::Maintenance { endpoint: endpoint() },
            None => group::Order::Undrain { endpoint: endpoint() },
        });
        let weight = (self.weight != before.weight)
            .then(|| group::Order::Weight { endpoint: endpoint(), factor: self.weight });
        out.into_iter().chain(weight).collect()
    }
}

impl fmt::Display for Stand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let out = match self.out {
            Some(Out::Drained) => "drained",
            Some(Out::Maintenance) => "in maintenance",
            None => "in use",
        };
        f.write_str(out)?;
        if self.weight == 1.0 { Ok(()) } else { write!(f, ", weight {}", self.weight) }
    }
}

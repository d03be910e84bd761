//! Orders: what operators said of endpoints, zones and pools, kept until it ends.
//!
//! An order is about a place and not about a server, so it is kept where that place is not
//! configured (any more): a reload that comes in two steps must not give traffic to a server in
//! maintenance. It says so meanwhile, and is dropped after a [while](FORGOTTEN).
//!
//! Orders outlive the process, so their times are wall times. One word on the same thing replaces
//! the one before; where several hold for an endpoint, maintenance goes before a drain, and the
//! weight of the endpoint is its own.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// An order on what is not configured is kept for so long. A day: whoever renamed a pool has
/// noticed by then.
pub const FORGOTTEN: Duration = Duration::from_hours(24);

/// Orders that can be kept; a bound on memory, far above what people can oversee.
pub const MOST: usize = 1000;

/// Seconds since 1970: orders outlive the process, which monotonic time does not.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Unix(pub u64);

/// What an order is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// One endpoint of a pool.
    Endpoint {
        /// The pool's name.
        pool: String,
        /// The endpoint's name.
        endpoint: String,
    },
    /// Every endpoint in this zone.
    Zone(String),
    /// Every endpoint in this region.
    Region(String),
    /// A whole pool.
    Pool(String),
}

/// What an order says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// No new requests; what is in flight is finished.
    Drain,
    /// Never asked.
    Maintenance,
    /// The weight is multiplied by this factor, above 0.
    Weight(f32),
    /// The seats of the pool go to others than its rule prefers, until a failback.
    Failover {
        /// Who takes the seat; none for whom the rule prefers among the others.
        to: Option<String>,
    },
}

/// Where an endpoint is, as orders see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The pool's name.
    pub pool: &'a str,
    /// The endpoint's name.
    pub endpoint: &'a str,
    /// Its zone, if it is said.
    pub zone: Option<&'a str>,
    /// Its region, if it is said.
    pub region: Option<&'a str>,
}

/// An operator's word, while it holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// What it is about.
    pub scope: Scope,
    /// What it says.
    pub verb: Verb,
    /// Why.
    pub reason: String,
    /// When it was given.
    pub since: Unix,
    /// When it ends by itself; none where it holds until it is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Unix>,
    /// Since when nothing of what it is about is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orphaned: Option<Unix>,
}

/// All orders that hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Book {
    orders: Vec<Order>,
}

/// What the orders make of one endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Effect<'b> {
    /// The order that keeps requests away.
    pub out: Option<&'b Order>,
    /// The order that changes its weight.
    pub weight: Option<&'b Order>,
}

/// No more orders can be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MOST} orders hold already; take some back first")]
pub struct Full;

/// What became of an order without an operator's word.
#[derive(Clone, Debug, PartialEq)]
pub enum Turn {
    /// Its time is over.
    Expired(Order),
    /// Nothing of what it is about is configured; it is kept for a while.
    Orphaned(Order),
    /// What it is about is configured again.
    Found(Order),
    /// What it is about was missing for too long; it is dropped.
    Dropped(Order),
}

impl Scope {
    /// Whether it meets this endpoint.
    #[must_use]
    pub fn meets(&self, place: Place<'_>) -> bool {
        match self {
            Self::Endpoint { pool, endpoint } => pool == place.pool && endpoint == place.endpoint,
            Self::Zone(zone) => place.zone == Some(zone),
            Self::Region(region) => place.region == Some(region),
            Self::Pool(pool) => pool == place.pool,
        }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Endpoint { pool, endpoint } => write!(f, "{pool}/{endpoint}"),
            Self::Zone(zone) => write!(f, "zone {zone}"),
            Self::Region(region) => write!(f, "region {region}"),
            Self::Pool(pool) => write!(f, "pool {pool}"),
        }
    }
}

impl Verb {
    /// The verb, as commands and events show it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Maintenance => "maintenance",
            Self::Weight(_) => "weight",
            Self::Failover { .. } => "failover",
        }
    }

    /// Whether `other` says something on the same matter, and so replaces it.
    fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl std::fmt::Display for Verb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Weight(factor) => write!(f, "weight {factor}"),
            Self::Failover { to: Some(to) } => write!(f, "failover to {to}"),
            Self::Drain | Self::Maintenance | Self::Failover { to: None } => {
                f.write_str(self.as_str())
            }
        }
    }
}

impl Book {
    /// The orders, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Order> {
        self.orders.iter()
    }

    /// Adds an order; one on the same matter gives way and is returned.
    ///
    /// # Errors
    /// Too many hold already.
    pub fn place(&mut self, order: Order) -> Result<Option<Order>, Full> {
        let same = |known: &Order| known.scope == order.scope && known.verb.is_like(&order.verb);
        let before = self.orders.iter().position(same).map(|at| self.orders.remove(at));
        if self.orders.len() >= MOST {
            return Err(Full);
        }
        self.orders.push(order);
        Ok(before)
    }

    /// Takes the orders of this scope back that fit.
    pub fn lift(&mut self, scope: &Scope, fits: impl Fn(&Verb) -> bool) -> Vec<Order> {
        let fits = |order: &mut Order| order.scope == *scope && fits(&order.verb);
        self.orders.extract_if(.., fits).collect()
    }

    /// What holds for an endpoint.
    #[must_use]
    pub fn effect(&self, place: Place<'_>) -> Effect<'_> {
        let here = || self.orders.iter().filter(|order| order.scope.meets(place));
        let of = |verb: &Verb| here().find(|order| order.verb == *verb);
        let weight = here().rfind(|order| matches!(order.verb, Verb::Weight(_)));
        Effect { out: of(&Verb::Maintenance).or_else(|| of(&Verb::Drain)), weight }
    }

    /// Ends what has expired and what was orphaned for too long; `exists` says of a scope whether
    /// anything of it is configured. A restart or a reload is a reason to look, and so is time.
    pub fn turn(&mut self, now: Unix, exists: impl Fn(&Scope) -> bool) -> Vec<Turn> {
        let mut turns = Vec::new();
        self.orders.retain_mut(|order| {
            let (turn, stays) = order.turn(now, exists(&order.scope));
            turns.extend(turn);
            stays
        });
        turns
    }
}

impl Order {
    fn turn(&mut self, now: Unix, exists: bool) -> (Option<Turn>, bool) {
        if self.until.is_some_and(|until| until <= now) {
            return (Some(Turn::Expired(self.clone())), false);
        }
        match (exists, self.orphaned) {
            (true, None) => (None, true),
            (true, Some(_)) => {
                self.orphaned = None;
                (Some(Turn::Found(self.clone())), true)
            }
            (false, None) => {
                self.orphaned = Some(now);
                (Some(Turn::Orphaned(self.clone())), true)
            }
            (false, Some(since)) if now.0.saturating_sub(since.0) >= FORGOTTEN.as_secs() => {
                (Some(Turn::Dropped(self.clone())), false)
            }
            (false, Some(_)) => (None, true),
        }
    }
}

#[cfg(test)]
mod tests;

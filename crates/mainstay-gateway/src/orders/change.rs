//! What an instruction means: the order that it is, what it ends, and what speaks against it.

use std::collections::BTreeMap;

use mainstay_admin::{Act, Instruction, OrderError};
use mainstay_control::forecast::{Change, Effect, Forecast, LEAST, PoolLoad, View};
use mainstay_control::group;
use mainstay_control::orders::{Book, Scope, Verb};
use mainstay_policy::Standing;

use super::places::Places;
use crate::groups::Rehearsed;

/// A pool that could not take more than this part of what it is asked is short of capacity; less
/// is within what measurements tell.
const SHORT: f64 = 0.01;

/// The order that it places; `None` if it ends some.
pub(super) fn verb(act: &Act) -> Option<Verb> {
    match act {
        Act::Drain => Some(Verb::Drain),
        Act::Maintenance => Some(Verb::Maintenance),
        Act::Weight(1.0) | Act::Undrain | Act::EndMaintenance | Act::Failback => None,
        Act::Weight(factor) => Some(Verb::Weight(*factor)),
        Act::Failover { to } => Some(Verb::Failover { to: to.clone() }),
    }
}

/// Whether it ends an order that says this.
pub(super) const fn ends(act: &Act, verb: &Verb) -> bool {
    match act {
        Act::Undrain => matches!(verb, Verb::Drain),
        Act::EndMaintenance => matches!(verb, Verb::Maintenance),
        Act::Weight(_) => matches!(verb, Verb::Weight(_)),
        Act::Failback => matches!(verb, Verb::Failover { .. }),
        Act::Drain | Act::Maintenance | Act::Failover { .. } => false,
    }
}

/// Whether an order that says this is about the same matter.
pub(super) const fn touches(act: &Act, verb: &Verb) -> bool {
    match act {
        Act::Drain => matches!(verb, Verb::Drain),
        Act::Maintenance => matches!(verb, Verb::Maintenance),
        Act::Failover { .. } => matches!(verb, Verb::Failover { .. }),
        Act::Undrain | Act::EndMaintenance | Act::Weight(_) | Act::Failback => ends(act, verb),
    }
}

/// Refuses to end what does not hold.
pub(super) fn sense(book: &Book, instruction: &Instruction) -> Result<(), OrderError> {
    let Instruction { act, scope, .. } = instruction;
    if *act == Act::Failback
        || verb(act).is_some()
        || book.iter().any(|o| o.scope == *scope && ends(act, &o.verb))
    {
        return Ok(());
    }
    let other = book.iter().find(|order| ends(act, &order.verb));
    let elsewhere =
        other.map(|order| format!("; {} is on {} ({})", order.verb, order.scope, order.reason));
    let what = match act {
        Act::Undrain => "is not drained by an order of its own",
        Act::EndMaintenance => "is not in maintenance",
        Act::Weight(_) => "has the weight that it is configured with",
        _ => "was not failed over by an order",
    };
    let elsewhere = elsewhere.unwrap_or_default();
    Err(OrderError::Pointless(format!("{scope} {what}{elsewhere}")))
}

/// The order of a group that moves seats.
pub(super) fn of_seats(instruction: &Instruction) -> Option<group::Order> {
    match (&instruction.act, &instruction.scope) {
        (Act::Failover { to }, _) => Some(failover(to.as_deref())),
        (Act::Failback, Scope::Endpoint { endpoint, .. }) => {
            Some(group::Order::Failback { endpoint: Some(endpoint.as_str().into()) })
        }
        (Act::Failback, _) => Some(group::Order::Failback { endpoint: None }),
        _ => None,
    }
}

/// A failover to somebody, or to whom the rule prefers.
pub(super) fn failover(to: Option<&str>) -> group::Order {
    group::Order::Failover { from: None, to: to.map(Into::into) }
}

/// What it changes in the view, as the groups have rehearsed it.
pub(super) fn of(
    instruction: &Instruction,
    (places, meant): (&Places, &[(usize, usize)]),
    rehearsed: &BTreeMap<String, Rehearsed>,
    view: &View,
) -> Change {
    let mut effects = Vec::new();
    for (at, pool) in view.pools.iter().enumerate() {
        let Some(foreseen) = rehearsed.get(&pool.name) else { continue };
        for (place, endpoint) in pool.endpoints.iter().enumerate() {
            let Some(then) = foreseen.members.iter().find(|m| *m.name == *endpoint.name) else {
                continue;
            };
            let standing = if then.gives_way { Standing::Spare } else { then.standing };
            let named = meant.contains(&(at, place)) && instruction.act != Act::Failback;
            if standing != endpoint.standing || named {
                effects.push((at, place, Effect::Stands(standing)));
            }
        }
    }
    if let Act::Weight(factor) = instruction.act {
        effects.extend(meant.iter().map(|at| weighs(factor, *at, places, view)));
    }
    let words = format!("{} {}", instruction.act.as_str(), instruction.scope);
    Change { words, sudden: false, effects }
}

/// The new factor stands in the place of the one that is there.
fn weighs(
    factor: f32,
    (pool, at): (usize, usize),
    places: &Places,
    view: &View,
) -> (usize, usize, Effect) {
    let configured = f64::from(places.pools[pool].endpoints[at].weight);
    let now = view.pools[pool].endpoints[at].weight;
    (pool, at, Effect::Weighs(f64::from(factor) * configured / now))
}

/// The death of all these.
pub(super) fn death(scope: &Scope, meant: &[(usize, usize)]) -> Change {
    let effects = meant.iter().map(|(pool, at)| (*pool, *at, Effect::Gone)).collect();
    Change { words: format!("{scope} dies"), sudden: true, effects }
}

/// Why too little would be left.
pub(super) fn objections(act: &Act, forecast: &Forecast) -> Vec<String> {
    if matches!(act, Act::Undrain | Act::EndMaintenance | Act::Failback) {
        return Vec::new();
    }
    let mut objections = Vec::new();
    for pool in &forecast.pools {
        if pool.serving > 0 && pool.serving_meanwhile == 0 {
            objections.push(last(pool));
        } else if pool.short >= LEAST.max(pool.now * SHORT) {
            objections.push(short(pool));
        }
    }
    objections
}

fn last(pool: &PoolLoad) -> String {
    let then = match pool.serving_then {
        0 => String::new(),
        more => format!(" until {more} standby is ready"),
    };
    format!("no endpoint of pool {} would take requests{then}", pool.name)
}

fn short(pool: &PoolLoad) -> String {
    format!(
        "pool {} serves {:.1} requests/s, and those who are left can serve {:.1}",
        pool.name, pool.now, pool.meanwhile
    )
}

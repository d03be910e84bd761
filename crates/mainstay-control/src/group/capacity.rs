//! How many failures a pool can take now: true N+M, by measured service rates.
//!
//! The largest are taken to fail first. Who is left and can answer at once (in use, or a hot
//! spare) takes posts, as many as are wanted, and must bear the present load. Warm and cold
//! standbys do not count: they need time, and are told apart.
//!
//! What nobody measured is estimated: a server that was never busy is taken to bear what its own
//! latency says, and at least what the others of its pool bear, with which it is interchangeable.

use super::{Group, Sight, Standby};

/// What a pool can take.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tolerance {
    /// Endpoints that may fail at once, whichever they are, with nothing missing.
    pub failures: usize,
    /// Standbys beside, which take time to be used.
    pub later: usize,
    /// Requests a second now.
    pub load: f64,
    /// What those in use can bear, as far as it is known.
    pub capacity: Option<f64>,
    /// Whether all of that was measured.
    pub measured: bool,
}

/// What the pool can take with its present load.
#[must_use]
pub fn tolerance(group: &Group, sights: &[Sight]) -> Tolerance {
    let load = sights.iter().map(|sight| sight.load).sum();
    let members = || group.members.iter().zip(sights);
    let usual = usual(sights);
    let bears_alone = |sight: &Sight| match (sight.capacity, usual) {
        (Some(own), _) if sight.measured => own,
        (own, usual) => own.unwrap_or_default().max(usual.unwrap_or_default()),
    };
    let mut ready: Vec<f64> = members()
        .filter(|(member, sight)| {
            member.is_open() && member.is_prepared() && !sight.fitness.is_lost()
        })
        .map(|(_, sight)| bears_alone(sight))
        .collect();
    ready.sort_by(|one, other| other.total_cmp(one));
    let later = members().filter(|(member, _)| {
        member.is_open() && !member.is_prepared() && member.spec.standby > Some(Standby::Hot)
    });
    let known = usual.is_some();
    let bears = |lost: usize| {
        let left: f64 = ready.iter().skip(lost).take(group.wanted).sum();
        lost < ready.len() && (!known || left >= load)
    };
    let posted = || members().filter(|(member, _)| member.holds());
    Tolerance {
        failures: (1..ready.len()).take_while(|lost| bears(*lost)).count(),
        later: later.count(),
        load,
        capacity: known.then(|| posted().map(|(_, sight)| bears_alone(sight)).sum()),
        measured: known && posted().all(|(_, sight)| sight.measured),
    }
}

/// What one of the pool is taken to bear: the mean of what was measured, or else of the estimates.
fn usual(sights: &[Sight]) -> Option<f64> {
    let mean = |measured: bool| {
        let known = sights.iter().filter(|sight| sight.measured == measured);
        let known: Vec<f64> = known.filter_map(|sight| sight.capacity).collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    };
    mean(true).or_else(|| mean(false))
}

//! How many failures a pool can take now: true N+M, by measured service rates.
//!
//! The largest are taken to fail first. Who is left and can answer at once (in use, or a hot
//! spare) takes posts, as many as are wanted, and must bear the present load. Warm and cold
//! standbys do not count: they need time, and are told apart.

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
    /// What those in use can bear, as far as it was measured.
    pub capacity: Option<f64>,
}

/// What the pool can take with its present load.
#[must_use]
pub fn tolerance(group: &Group, sights: &[Sight]) -> Tolerance {
    let load = sights.iter().map(|sight| sight.load).sum();
    let members = || group.members.iter().zip(sights);
    let measured: Vec<f64> = members().filter_map(|(_, sight)| sight.capacity).collect();
    let mean = measured.iter().sum::<f64>() / measured.len().max(1) as f64;
    let mut ready: Vec<f64> = members()
        .filter(|(member, sight)| {
            member.is_open() && member.is_prepared() && !sight.fitness.is_lost()
        })
        .map(|(_, sight)| sight.capacity.unwrap_or(mean))
        .collect();
    ready.sort_by(|one, other| other.total_cmp(one));
    let later = members().filter(|(member, _)| {
        member.is_open() && !member.is_prepared() && member.spec.standby > Some(Standby::Hot)
    });
    let known = !measured.is_empty();
    let bears = |lost: usize| {
        let left: f64 = ready.iter().skip(lost).take(group.wanted).sum();
        lost < ready.len() && (!known || left >= load)
    };
    let posted = members().filter(|(member, _)| member.holds());
    Tolerance {
        failures: (1..ready.len()).take_while(|lost| bears(*lost)).count(),
        later: later.count(),
        load,
        capacity: known.then(|| posted.map(|(_, sight)| sight.capacity.unwrap_or(mean)).sum()),
    }
}

//! Tells when a model begins to turn requests away for want of room, and when that is over.
//!
//! Once a second, on the control runtime: an event for each refusal would drown all others.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mainstay_telemetry::{Event, EventKind};

use crate::gate::Gate;
use crate::shared::Shared;

/// How often the gates are looked at.
const EVERY: Duration = Duration::from_secs(1);

/// Looks without a refusal after which a model has room again: a burst that comes back within
/// this time is told of once.
const QUIET: u32 = 5;

/// What is known of one model's refusals.
#[derive(Clone, Copy, Debug, Default)]
struct Watch {
    /// Refusals up to the last look.
    seen: u64,
    /// Refusals before those that are going on.
    before: u64,
    sheds: bool,
    quiet: u32,
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// So many were turned away since the last look.
    Begins(u64),
    /// So many were turned away in all.
    Ends(u64),
}

impl Watch {
    /// After a look that found so many refusals since the start.
    fn step(&mut self, refused: u64) -> Option<Change> {
        let more = refused.saturating_sub(self.seen);
        let before = std::mem::replace(&mut self.seen, refused);
        self.quiet = if more > 0 { 0 } else { self.quiet.saturating_add(1) };
        if more > 0 && !self.sheds {
            (self.sheds, self.before) = (true, before);
            return Some(Change::Begins(more));
        }
        if self.sheds && self.quiet >= QUIET {
            self.sheds = false;
            return Some(Change::Ends(refused - self.before));
        }
        None
    }
}

/// Watches every model's gate for as long as it runs.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let mut watches: HashMap<Arc<str>, Watch> = HashMap::new();
    let mut tick = tokio::time::interval(EVERY);
    loop {
        tick.tick().await;
        let snapshot = shared.snapshot();
        watches.retain(|model, _| snapshot.route_named(model).is_some());
        for route in &snapshot.routes {
            let refused = route.gate.turned_away().iter().sum();
            let watch = watches.entry(Arc::clone(&route.name)).or_default();
            if let Some(change) = watch.step(refused) {
                shared.telemetry.event(event(&route.name, &route.gate, change));
            }
        }
    }
}

fn event(model: &str, gate: &Gate, change: Change) -> Event {
    let (from, to, cause) = match change {
        Change::Begins(refused) => {
            let pace = gate.pace();
            let cause = format!(
                "{refused} requests found no room: {} under way, {} waiting, {:.1} served a second",
                gate.bulkhead.in_flight(),
                gate.waiting(),
                pace.rate
            );
            ("room", "shedding", cause)
        }
        Change::Ends(refused) => {
            let cause = format!("{QUIET} s without a refusal, after {refused}");
            ("shedding", "room", cause)
        }
    };
    Event {
        kind: EventKind::Overload,
        subject: model.to_owned(),
        from: from.to_owned(),
        to: to.to_owned(),
        cause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_refusals_is_told_twice_when_it_begins_and_when_it_is_over() {
        let mut watch = Watch::default();
        assert_eq!(watch.step(0), None);
        assert_eq!(watch.step(7), Some(Change::Begins(7)));
        assert_eq!(watch.step(9), None);
        // A pause too short to be the end.
        assert!((0..QUIET - 1).all(|_| watch.step(9).is_none()));
        assert_eq!(watch.step(10), None);
        assert!((0..QUIET - 1).all(|_| watch.step(10).is_none()));
        assert_eq!(watch.step(10), Some(Change::Ends(10)));
        assert_eq!(watch.step(12), Some(Change::Begins(2)));
    }
}

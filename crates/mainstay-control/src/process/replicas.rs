//! How many servers a load needs, with hysteresis.
//!
//! A server is meant to have so many requests in flight (`target`). What the load asks for at one
//! moment swings; the wanted number follows it up after a short while in which it stayed above,
//! and down after a long one in which it stayed below: the lowest recommendation of the short
//! window bounds growth, the highest of the long window bounds shrinking. This is how the
//! Horizontal Pod Autoscaler stabilises (Kubernetes, `stabilizationWindowSeconds`). A deviation
//! of less than a tenth changes nothing, as there.

use std::collections::VecDeque;
use std::time::Duration;

use mainstay_policy::Moment;

/// A load within a tenth of what is there changes nothing (Kubernetes' default tolerance).
const TOLERANCE: f64 = 0.1;
/// Recommendations are kept as the peaks and the troughs of so many parts of the longer window.
const PARTS: u32 = 60;

/// When servers are added and let go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Never fewer. Default 1.
    pub min: u32,
    /// Never more. Default: as many as there is room for.
    pub max: u32,
    /// Requests in flight that one server is meant to have. Default 8.
    pub target: f64,
    /// How long the load must ask for more. Default 5 s.
    pub up_after: Duration,
    /// How long the load must ask for fewer. Default 5 min, as in Kubernetes.
    pub down_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            min: 1,
            max: 1024,
            target: 8.0,
            up_after: Duration::from_secs(5),
            down_after: Duration::from_secs(300),
        }
    }
}

/// The wanted number of servers of one pool.
#[derive(Clone, Debug)]
pub struct Replicas {
    settings: Settings,
    wanted: u32,
    /// Recommendations of the recent past by part of the window, the oldest first; bounded.
    parts: VecDeque<Part>,
}

/// What the load asked for in one part of the window.
#[derive(Clone, Copy, Debug)]
struct Part {
    begin: Moment,
    end: Moment,
    lowest: u32,
    highest: u32,
}

/// A changed number, with its cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The number before.
    pub from: u32,
    /// The number from now on.
    pub to: u32,
    /// Why, in one line.
    pub cause: String,
}

impl Replicas {
    /// Begins with the least.
    #[must_use]
    pub const fn new(settings: Settings) -> Self {
        Self { wanted: settings.min, settings, parts: VecDeque::new() }
    }

    /// How many there should be.
    #[must_use]
    pub const fn wanted(&self) -> u32 {
        self.wanted
    }

    /// Begins with as many as there are, after a restart: what runs is let go only for want of
    /// load.
    pub fn found(&mut self, running: u32) {
        self.wanted = self.clamped(running);
    }

    /// Other bounds, from now on.
    pub fn set(&mut self, settings: Settings) {
        self.settings = settings;
        self.wanted = self.clamped(self.wanted);
    }

    /// Takes account of the requests in flight over all servers (those that wait for room among
    /// them).
    pub fn step(&mut self, in_flight: f64, now: Moment) -> Option<Change> {
        let asked = self.asked(in_flight);
        self.keep(asked, now);
        let up = self.bound(self.settings.up_after, now, |part| part.lowest, u32::min);
        let down = self.bound(self.settings.down_after, now, |part| part.highest, u32::max);
        let to = match (up, down) {
            (Some(up), _) if up > self.wanted => up,
            (_, Some(down)) if down < self.wanted => down,
            _ => return None,
        };
        let from = std::mem::replace(&mut self.wanted, to);
        let (target, over) = (
            self.settings.target,
            if to > from { self.settings.up_after } else { self.settings.down_after },
        );
        let cause = format!(
            "{in_flight:.0} requests in flight, {target} wanted at one server, for {over:?}"
        );
        Some(Change { from, to, cause })
    }

    /// What this load asks for.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped, and as casts saturate"
    )]
    fn asked(&self, in_flight: f64) -> u32 {
        let share = in_flight / (self.settings.target * f64::from(self.wanted.max(1)));
        if self.wanted > 0 && (share - 1.0).abs() <= TOLERANCE {
            return self.wanted;
        }
        self.clamped((in_flight / self.settings.target).ceil() as u32)
    }

    const fn clamped(&self, number: u32) -> u32 {
        let number = if number > self.settings.max { self.settings.max } else { number };
        if number < self.settings.min { self.settings.min } else { number }
    }

    fn keep(&mut self, asked: u32, now: Moment) {
        let longest = self.settings.up_after.max(self.settings.down_after);
        let length = longest / PARTS;
        match self.parts.back_mut() {
            Some(part) if now.since(part.begin) < length.min(self.settings.up_after / 4) => {
                part.end = now;
                part.lowest = part.lowest.min(asked);
                part.highest = part.highest.max(asked);
            }
            _ => self.parts.push_back(Part { begin: now, end: now, lowest: asked, highest: asked }),
        }
        while self.parts.front().is_some_and(|part| now.since(part.end) > longest + length) {
            self.parts.pop_front();
        }
        self.merge();
    }

    /// Keeps the list bounded: of the oldest parts two become one.
    fn merge(&mut self) {
        const MOST: usize = 4 * PARTS as usize;
        while self.parts.len() > MOST {
            let Some(first) = self.parts.pop_front() else { return };
            if let Some(second) = self.parts.front_mut() {
                second.begin = first.begin;
                second.lowest = second.lowest.min(first.lowest);
                second.highest = second.highest.max(first.highest);
            }
        }
    }

    /// The bound over a window; `None` until it has been seen whole.
    fn bound(
        &self,
        window: Duration,
        now: Moment,
        of: impl Fn(&Part) -> u32,
        pick: impl Fn(u32, u32) -> u32,
    ) -> Option<u32> {
        let seen = self.parts.front().map_or(Duration::ZERO, |part| now.since(part.begin));
        let recent = self.parts.iter().rev().take_while(|part| now.since(part.end) <= window);
        (seen >= window).then(|| recent.map(of).reduce(pick)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replicas() -> Replicas {
        Replicas::new(Settings { min: 1, max: 5, target: 4.0, ..Settings::default() })
    }

    /// Feeds a load ten times a second; the wanted number at the end.
    fn feed(replicas: &mut Replicas, from: u64, seconds: u64, load: impl Fn(u64) -> f64) -> u32 {
        for tick in 0..seconds * 10 {
            replicas.step(load(tick), Moment::from_millis(from * 1000 + tick * 100));
        }
        replicas.wanted()
    }

    #[test]
    fn a_lasting_load_brings_servers() {
        let mut replicas = replicas();
        assert_eq!(feed(&mut replicas, 0, 4, |_| 12.0), 1, "not at once");
        assert_eq!(feed(&mut replicas, 4, 3, |_| 12.0), 3);
        assert_eq!(feed(&mut replicas, 7, 10, |_| 1000.0), 5, "never more than the maximum");
    }

    #[test]
    fn a_peak_brings_none() {
        let mut replicas = replicas();
        assert_eq!(feed(&mut replicas, 0, 60, |tick| if tick % 30 == 0 { 0.0 } else { 40.0 }), 1);
    }

    #[test]
    fn servers_go_only_after_a_long_quiet_time() {
        let mut replicas = replicas();
        feed(&mut replicas, 0, 10, |_| 16.0);
        assert_eq!(replicas.wanted(), 4);
        assert_eq!(feed(&mut replicas, 10, 290, |_| 0.0), 4);
        assert_eq!(feed(&mut replicas, 300, 30, |_| 0.0), 1);
        assert!(replicas.parts.len() <= 4 * PARTS as usize + 1, "bounded");
    }

    #[test]
    fn a_tenth_more_or_less_changes_nothing() {
        let mut replicas = replicas();
        feed(&mut replicas, 0, 10, |_| 8.0);
        assert_eq!(replicas.wanted(), 2);
        assert_eq!(feed(&mut replicas, 10, 60, |_| 8.7), 2);
        assert_eq!(feed(&mut replicas, 70, 60, |_| 9.0), 3);
    }

    #[test]
    fn what_was_found_stays_while_the_load_is_unknown() {
        let mut replicas = replicas();
        replicas.found(3);
        assert_eq!(feed(&mut replicas, 0, 60, |_| 0.0), 3);
    }
}

//! How many attempts at a target are worth having under way: decided once a window, from what
//! the limit did to the latency.
//!
//! Beyond a server's capacity more requests under way do not finish faster; they wait inside.
//! The sign is latency growing over its baseline, as in TCP Vegas (Brakmo, Peterson: "TCP Vegas:
//! End to End Congestion Avoidance on a Global Internet", 1995) and the gradient limits of
//! <https://github.com/Netflix/concurrency-limits>. What both leave open is whose fault a higher
//! latency is: a queue's, or the work itself having become longer, where a lower limit only
//! takes throughput away. Here every cut is an experiment that answers it:
//!
//! - where the latency fell with the limit, a queue was taken away: the cut stands;
//! - where it stayed, throughput was taken away instead (Little's law): the cut is taken back,
//!   and what the work takes without a queue is the new baseline.
//!
//! Because nobody may have seen the target without a queue, a limit that has been reached for a
//! while is cut on trial, as BBR looks for its round trip time (Cardwell et al.: "BBR:
//! Congestion-Based Congestion Control", 2016).
//!
//! Two things do not wait for the end of a window. A target that nobody has seen full yet may have
//! any capacity, so its limit doubles while its latency stays where it is, as in the slow start
//! of TCP (RFC 5681). And a queue that grows is [relieved](Gradient::relieve) as soon as it shows:
//! what is let into a server's queue in the meantime can only run out of time there.

use std::time::Duration;

/// Latency may grow to so many times the baseline, since a short queue inside the server keeps
/// it busy between two requests.
const TOLERANCE: f64 = 1.5;

/// Latency may always grow by this much, in microseconds: below that a scheduler's hiccups weigh
/// more than queues, and no client minds.
const FLOOR: f64 = 5_000.0;

/// A cut leaves at least this share, so that one odd window does little harm.
const DEEPEST_CUT: f64 = 0.5;

/// A relief leaves at least this share. Deeper than a cut by a window, since what a queue
/// holds by then is many times what the server does at once.
const DEEPEST_RELIEF: f64 = 0.25;

/// What was under way without a queue is forgotten by this share with each window.
const PROVEN_KEPT: f64 = 0.9;

/// Answers that are slow come from a queue when each of them takes so many times the baseline, and
/// this much longer, in microseconds.
const SLOW_FACTOR: f64 = 2.0;
const SLOW_FLOOR: f64 = 20_000.0;

/// The share that a cut on trial leaves.
const TRIAL_CUT: f64 = 0.6;

/// The share that a server's own word (429, or 503 with Retry-After) leaves.
const REFUSED_CUT: f64 = 0.9;

/// Windows at the limit before it is cut on trial: trials take no more than
/// `(1 - TRIAL_CUT) / TRIAL_EVERY` of the throughput. A target that nothing is known of is tried
/// much sooner.
const TRIAL_EVERY: u32 = 16;
const FIRST_TRIAL: u32 = 2;

/// A cut is judged once no more than this share is left: the effect of a smaller one drowns in
/// the noise of a window.
const JUDGED_AT: f64 = 0.75;

/// How much of a window's latency goes into the baseline: quickly down, as what is faster was
/// surely not waiting; slowly up, and only while the limit is not reached.
const BLEND_DOWN: f64 = 0.3;
const BLEND_UP: f64 = 0.05;

/// Whether and how the attempts under way at one target are bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether the limit follows latency and throughput; otherwise it is `max`.
    pub adaptive: bool,
    /// Never below this; at least 1. Default 4: what so few requests take is held to be the
    /// work itself.
    pub min: u32,
    /// What a target begins with, and what its limit returns to while nobody needs it. Default
    /// 200: more than a healthy target has under way at moderate load, so that nothing is
    /// limited before it was measured.
    pub initial: u32,
    /// Never above this. Default 2000; `u32::MAX` with `adaptive` off is no limit at all.
    pub max: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { adaptive: true, min: 4, initial: 200, max: 2000 }
    }
}

impl Settings {
    /// No limit.
    #[must_use]
    pub const fn off() -> Self {
        Self { adaptive: false, min: 1, initial: u32::MAX, max: u32::MAX }
    }

    /// Whether there is no limit at all.
    #[must_use]
    pub const fn is_off(&self) -> bool {
        !self.adaptive && self.max == u32::MAX
    }

    /// The least that the limit can be.
    #[must_use]
    pub(super) fn least(&self) -> u32 {
        self.min.clamp(1, self.max.max(1))
    }

    /// The limit to begin with.
    #[must_use]
    pub fn first(&self) -> u32 {
        let max = self.max.max(1);
        if self.adaptive { self.initial.clamp(self.min.clamp(1, max), max) } else { max }
    }
}

/// What was seen of a target in one window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Attempts that ended in an answer or ran out of time.
    pub answers: u32,
    /// Their mean latency, in microseconds.
    pub latency: f64,
    /// Attempts that the server refused because it was full.
    pub refused: u32,
    /// The most attempts that were under way at once.
    pub peak: u32,
    /// Whether someone found the target full.
    pub limited: bool,
    /// Whether more was under way at its end than at its beginning. A target that keeps up with
    /// what it is asked needs no lower limit, however long it takes.
    pub grew: bool,
}

/// A cut, or several in a row, whose effect is awaited: what was before.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Trial {
    concurrency: f64,
    latency: f64,
}

/// The limit of one target and what it rests on.
#[derive(Clone, Copy, Debug)]
pub struct Gradient {
    settings: Settings,
    limit: f64,
    /// What an answer takes without a queue, in microseconds; `None` before the first window.
    baseline: Option<f64>,
    /// The most that was under way without a queue, lately.
    proven: f64,
    trial: Option<Trial>,
    /// Windows in which the limit was reached, since the last trial.
    at_limit: u32,
    /// Whether the limit was reached in this window and the one before.
    steady: bool,
    was_limited: bool,
    /// Whether more was under way at the end of the window before than at its beginning.
    grew: bool,
    /// Whether it was never cut, so that the target may do any number at once.
    starting: bool,
}

/// What a window made of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The limit from now on.
    pub limit: u32,
    /// Whether what is under way must end before the next window can say anything.
    pub cut: bool,
}

impl Gradient {
    /// The limit of a target that nothing is known of.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let limit = f64::from(settings.first());
        Self {
            settings,
            limit,
            baseline: None,
            proven: 0.0,
            trial: None,
            at_limit: TRIAL_EVERY - FIRST_TRIAL,
            steady: false,
            was_limited: false,
            grew: false,
            starting: true,
        }
    }

    /// The rules.
    #[must_use]
    pub const fn settings(&self) -> Settings {
        self.settings
    }

    /// Other rules from now on, and the limit under them; `None` where they are the same. What was
    /// learned stays.
    pub fn reconfigure(&mut self, settings: Settings) -> Option<u32> {
        if self.settings == settings {
            return None;
        }
        let follows = self.settings.adaptive && settings.adaptive;
        self.settings = settings;
        self.limit = if follows {
            self.limit.clamp(self.least(), f64::from(settings.max.max(1)))
        } else {
            f64::from(settings.first())
        };
        self.trial = None;
        Some(self.limit.round() as u32)
    }

    /// What an answer takes without a queue, as far as is known.
    #[must_use]
    pub fn baseline(&self) -> Option<Duration> {
        self.baseline.map(|micros| Duration::from_secs_f64(micros / 1e6))
    }

    /// Beyond this an answer has waited in a queue, in microseconds; `None` before the first
    /// window.
    #[must_use]
    pub(super) fn slow_from(&self) -> Option<f64> {
        self.baseline.map(|baseline| (baseline * SLOW_FACTOR).max(baseline + SLOW_FLOOR))
    }

    /// The limit once a queue shows while a window is still open: answers come after `latency`
    /// microseconds, or attempts run out of time after it, with so many `under_way`. What the
    /// server does at once follows from how many times the baseline that is (Little's law).
    ///
    /// As many as were under way lately without a queue are left: if they are slow now, the work
    /// may have become longer, and the windows find that out. Unless they have `timed_out`.
    pub fn relieve(&mut self, latency: f64, under_way: u32, timed_out: bool) -> Decision {
        let before = self.limit;
        let concurrency = before.min(f64::from(under_way));
        let proven = if timed_out { 0.0 } else { self.proven };
        let floor = proven.max(self.least());
        if concurrency > floor {
            let share = |baseline: f64| allowed(baseline) / latency.max(1.0);
            let leave = self.baseline.map_or(DEEPEST_CUT, share).clamp(DEEPEST_RELIEF, 1.0);
            self.limit = (concurrency * leave).floor().max(floor).min(before);
            (self.trial, self.grew, self.starting) = (None, false, false);
        }
        Decision { limit: self.limit.round() as u32, cut: self.limit < before }
    }

    /// The limit after `window`.
    pub fn step(&mut self, window: &Window) -> Decision {
        let before = self.limit;
        self.steady = window.limited && self.was_limited;
        self.was_limited = window.limited;
        if window.refused > 0 {
            self.refused(window);
        } else if window.answers > 0 {
            self.answered(window);
        }
        self.grew = window.grew;
        self.limit = self.limit.clamp(self.least(), f64::from(self.settings.max.max(1)));
        Decision { limit: self.limit.round() as u32, cut: self.limit < before }
    }

    fn least(&self) -> f64 {
        f64::from(self.settings.least())
    }

    /// The server says itself that it was full.
    fn refused(&mut self, window: &Window) {
        (self.trial, self.starting) = (None, false);
        self.limit = concurrency(self.limit, window) * REFUSED_CUT;
    }

    fn answered(&mut self, window: &Window) {
        let latency = window.latency;
        if self.baseline.is_some_and(|baseline| latency <= allowed(baseline)) {
            self.proven = (self.proven * PROVEN_KEPT).max(f64::from(window.peak));
        }
        let baseline = *self.baseline.get_or_insert(latency);
        if window.limited {
            self.at_limit += 1;
            if self.has_cut_in_vain(latency) {
                return;
            }
        }
        let baseline = baseline + BLEND_DOWN * (latency - baseline).min(0.0);
        self.baseline = Some(baseline);
        let concurrency = concurrency(self.limit, window);
        let allowed = allowed(baseline);
        let tried = self.at_limit >= TRIAL_EVERY && !self.starting;
        if window.limited && tried && concurrency > self.least() {
            self.at_limit = 0;
            self.trial = None;
            self.cut(concurrency, TRIAL_CUT, window);
            return;
        }
        let falls_behind = window.limited || (window.grew && self.grew);
        if latency > allowed && concurrency > self.least() && falls_behind {
            self.cut(concurrency, (allowed / latency).max(DEEPEST_CUT), window);
            return;
        }
        if concurrency <= self.least() && (latency > allowed || window.limited) {
            // So few are held not to wait for each other: this is what the work takes now.
            self.baseline = Some(latency);
        }
        self.grow(window, allowed);
    }

    /// Whether the cuts before this window took work away and no queue; they are taken back.
    fn has_cut_in_vain(&mut self, latency: f64) -> bool {
        let Some(trial) = self.trial else { return false };
        let left = self.limit / trial.concurrency;
        if left > JUDGED_AT {
            return false;
        }
        self.trial = None;
        if latency < trial.latency * f64::midpoint(left, 1.0) {
            // What is left may still hold a queue: trials follow each other until one is in vain.
            self.at_limit = if self.limit > self.least() { TRIAL_EVERY } else { 0 };
            self.baseline = self.baseline.map(|baseline| baseline.min(latency));
            return false;
        }
        self.baseline = Some(latency);
        self.limit = trial.concurrency;
        self.at_limit = 0;
        true
    }

    fn cut(&mut self, concurrency: f64, leave: f64, window: &Window) {
        let lower = (concurrency * leave).floor().max(self.least());
        // While what is under way still grows, its latency says nothing to compare with.
        if self.steady && lower < concurrency {
            self.trial.get_or_insert(Trial { concurrency, latency: window.latency });
        }
        self.limit = lower.min(self.limit);
        self.starting = false;
    }

    /// Nothing waits inside the server: more may go there, if anyone wants to.
    fn grow(&mut self, window: &Window, allowed: f64) {
        self.trial = None;
        if !window.limited {
            if let Some(baseline) = &mut self.baseline {
                *baseline += BLEND_UP * (window.latency - *baseline);
            }
            // What nobody needs proves nothing, but need not be lost for good either.
            let initial = f64::from(self.settings.first());
            if self.limit < initial {
                self.limit = (self.limit + self.limit.sqrt()).min(initial);
            }
            return;
        }
        if self.starting {
            self.limit *= 2.0;
            return;
        }
        let baseline = self.baseline.unwrap_or(window.latency);
        let room = (allowed - window.latency) / (allowed - baseline).max(1.0);
        self.limit += self.limit.sqrt() * room.clamp(0.1, 1.0);
    }
}

/// The latency up to which no queue is seen.
fn allowed(baseline: f64) -> f64 {
    (baseline * TOLERANCE).max(baseline + FLOOR)
}

/// How many attempts were under way when the limit was `limit`.
fn concurrency(limit: f64, window: &Window) -> f64 {
    limit.min(f64::from(window.peak.max(1)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A window of 100 ms at a target that does `workers` at a time, each in `work`
    /// microseconds, with `under_way` asked of it all the time.
    fn window(under_way: u32, workers: u32, work: f64) -> Window {
        let busy = f64::from(under_way.min(workers));
        let rate = busy / (work / 1e6);
        Window {
            answers: (rate / 10.0).round().max(1.0) as u32,
            latency: f64::from(under_way) / rate * 1e6,
            refused: 0,
            peak: under_way,
            limited: false,
            grew: false,
        }
    }

    fn saturated(limit: u32, workers: u32, work: f64) -> Window {
        Window { limited: true, grew: true, ..window(limit, workers, work) }
    }

    /// The limit after so many windows with more asked of the target than it can do.
    fn settle(gradient: &mut Gradient, windows: usize, workers: u32, work: f64) -> Vec<u32> {
        let mut limit = gradient.limit.round() as u32;
        (0..windows)
            .map(|_| {
                limit = gradient.step(&saturated(limit, workers, work)).limit;
                limit
            })
            .collect()
    }

    #[test]
    fn light_load_is_never_limited() {
        let mut gradient = Gradient::new(Settings::default());
        for turn in 0..1_000 {
            // Latency jumps about, as it does when there is little of it.
            let work = [2_000.0, 3_000.0, 5_000.0, 2_500.0][turn % 4];
            let decision = gradient.step(&window(8, 32, work));
            assert_eq!(decision, Decision { limit: 200, cut: false });
        }
    }

    #[test]
    fn a_flood_from_a_known_state_is_cut_to_little_more_than_the_capacity() {
        let mut gradient = Gradient::new(Settings::default());
        gradient.step(&window(4, 8, 20_000.0));
        let limits = settle(&mut gradient, 60, 8, 20_000.0);
        assert!(limits[8..].iter().all(|limit| (4..=16).contains(limit)), "{limits:?}");
    }

    #[test]
    fn a_target_first_seen_flooded_is_found_out_by_trials() {
        let mut gradient = Gradient::new(Settings::default());
        let limits = settle(&mut gradient, 100, 8, 20_000.0);
        assert!(limits[40..].iter().all(|limit| (4..=20).contains(limit)), "{limits:?}");
    }

    #[test]
    fn longer_work_is_not_taken_for_a_queue() {
        let mut gradient = Gradient::new(Settings::default());
        gradient.step(&window(8, 8, 20_000.0));
        settle(&mut gradient, 60, 8, 20_000.0);
        let limits = settle(&mut gradient, 60, 8, 60_000.0);
        assert!(limits[8..].iter().all(|limit| (4..=20).contains(limit)), "{limits:?}");
    }

    #[test]
    fn more_capacity_is_found() {
        let mut gradient = Gradient::new(Settings::default());
        gradient.step(&window(4, 8, 20_000.0));
        settle(&mut gradient, 60, 8, 20_000.0);
        let limits = settle(&mut gradient, 60, 64, 20_000.0);
        assert!(limits[40..].iter().all(|limit| *limit >= 32), "{limits:?}");
    }

    #[test]
    fn a_server_that_says_it_is_full_is_believed() {
        let mut gradient = Gradient::new(Settings::default());
        let full = Window { refused: 3, ..window(40, 64, 20_000.0) };
        assert_eq!(gradient.step(&full), Decision { limit: 36, cut: true });
    }

    #[test]
    fn a_limit_that_was_never_cut_doubles_while_the_latency_stays() {
        let mut gradient = Gradient::new(Settings { initial: 20, ..Settings::default() });
        assert_eq!(settle(&mut gradient, 4, 1_000, 20_000.0), [40, 80, 160, 320]);
    }

    #[test]
    fn a_queue_that_shows_is_relieved_at_once() {
        // Baseline and latency in milliseconds, under way, the limit.
        let table = [
            (Some(50.0), 200.0, 16, 6),
            (Some(50.0), 5_000.0, 100, 25),
            (Some(50.0), 60.0, 16, 16),
            (None, 300.0, 18, 9),
            (Some(50.0), 900.0, 4, 200),
        ];
        for (baseline, latency, under_way, limit) in table {
            let mut gradient = Gradient::new(Settings::default());
            gradient.baseline = baseline.map(|millis: f64| millis * 1e3);
            let decision = gradient.relieve(latency * 1e3, under_way, false);
            assert_eq!(decision, Decision { limit, cut: limit < 200 }, "{baseline:?} {latency}");
        }
    }

    #[test]
    fn a_relief_leaves_what_was_proven_unless_it_runs_out_of_time() {
        let mut gradient = Gradient::new(Settings::default());
        for _ in 0..2 {
            gradient.step(&window(20, 32, 20_000.0));
        }
        assert!(!gradient.relieve(80_000.0, 20, false).cut);
        assert_eq!(gradient.relieve(80_000.0, 30, false).limit, 20);
        assert_eq!(gradient.relieve(80_000.0, 20, true).limit, 7);
    }

    #[test]
    fn what_nobody_needs_comes_back() {
        let mut gradient = Gradient::new(Settings::default());
        gradient.step(&window(4, 8, 20_000.0));
        settle(&mut gradient, 60, 8, 20_000.0);
        for _ in 0..60 {
            gradient.step(&window(2, 8, 20_000.0));
        }
        assert_eq!(gradient.step(&window(2, 8, 20_000.0)).limit, 200);
    }

    #[test]
    fn settings_bring_themselves_in_order() {
        assert_eq!(Settings { min: 9, initial: 3, max: 5, adaptive: true }.first(), 5);
        assert_eq!(Settings { max: 7, adaptive: false, ..Settings::default() }.first(), 7);
        assert!(Settings::off().is_off() && !Settings::default().is_off());
    }

    proptest! {
        #[test]
        fn the_limit_stays_within_its_bounds_whatever_is_seen(
            min in 0u32..50,
            initial in 0u32..500,
            max in 0u32..500,
            windows in prop::collection::vec(
                (0u32..1_000, 0.0f64..1e9, 0u32..3, 0u32..600, any::<(bool, bool)>()),
                1..100,
            ),
        ) {
            let settings = Settings { adaptive: true, min, initial, max };
            let mut gradient = Gradient::new(settings);
            for (answers, latency, refused, peak, (limited, grew)) in windows {
                let window = Window { answers, latency, refused, peak, limited, grew };
                let limit = gradient.step(&window).limit;
                prop_assert!(limit >= 1 && limit >= min.min(max) && limit <= max.max(1), "{limit}");
            }
        }
    }
}

//! Signals and the verdicts that they amount to; the two invariants, over random sequences.

use proptest::prelude::*;

use super::super::heartbeat::{self, Heart};
use super::super::{Progress, Streak, counters};
use super::*;
use crate::Class;

mod properties;

const TICK: Duration = Duration::from_millis(100);
const USUAL: Duration = Duration::from_millis(20);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// One target with everything around it, in time that the test moves.
struct World {
    now: Moment,
    fusion: Fusion,
    progress: Progress,
    streak: Streak,
    probes: Probes,
    /// When each attempt under way began.
    under_way: Vec<Moment>,
    usual: Option<Duration>,
    peers: Peers,
    heart: Heart,
    expected: Option<heartbeat::Settings>,
    counters: Option<Trend>,
    slow: (u32, u32),
    trial_open: bool,
    settings: Settings,
    changes: Vec<(Verdict, String)>,
}

impl World {
    /// A target that is known to be ready, with a usual latency.
    fn ready() -> Self {
        let mut world = Self::unknown();
        world.usual = Some(USUAL);
        world.probe(Check::Passed);
        assert_eq!(world.look(), Verdict::Ready);
        world
    }

    fn unknown() -> Self {
        Self {
            now: Moment::from_millis(100_000),
            fusion: Fusion::default(),
            progress: Progress::default(),
            streak: Streak::default(),
            probes: Probes { fall: 3, ..Probes::default() },
            under_way: Vec::new(),
            usual: None,
            peers: Peers::default(),
            heart: Heart::default(),
            expected: None,
            counters: None,
            slow: (0, 0),
            trial_open: false,
            settings: Settings::default(),
            changes: Vec::new(),
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    fn ask(&mut self) {
        self.progress.begin(self.under_way.is_empty(), self.now);
        self.under_way.push(self.now);
    }

    /// The oldest attempt under way ends.
    fn end(&mut self, result: Result<(), Class>) {
        let started = self.under_way.remove(0);
        self.progress.finish(started, result, self.now);
    }

    fn probe(&mut self, check: Check) {
        let settings = super::super::Settings { fall: self.probes.fall, ..Default::default() };
        let (streak, change) = self.streak.step(check, &settings);
        self.streak = streak;
        self.probes = self.probes.step(check, change.as_ref(), self.now);
    }

    fn page(&mut self, done: f64, undone: f64) {
        let reading = counters::Reading { done, undone, found: true };
        self.counters = Trend::step(self.counters, &reading, self.now);
    }

    /// The control loop's look, with what it does of it.
    fn look(&mut self) -> Verdict {
        let signals = Signals {
            now: self.now,
            probes: self.probes,
            traffic: self.progress.read(u32::try_from(self.under_way.len()).unwrap()),
            usual: self.usual,
            slow: self.slow,
            peers: self.peers,
            heartbeat: self.heart.report(self.expected.as_ref(), self.now),
            counters: self.counters,
            trial_open: self.trial_open,
        };
        let ruling = self.fusion.step(&signals, &self.settings);
        self.trial_open = ruling.trial;
        if let Some(change) = ruling.change {
            assert_ne!(change.from, change.to);
            self.changes.push((change.to, change.evidence.to_string()));
            if change.to.takes_traffic() && !change.from.takes_traffic() {
                self.progress.forget();
            }
        }
        self.fusion.verdict()
    }

    /// Time passes, with a look at each tick; the last verdict.
    fn run(&mut self, time: Duration) -> Verdict {
        let end = self.now + time;
        while self.now < end {
            self.pass(TICK);
            self.look();
        }
        self.fusion.verdict()
    }

    fn cause(&self) -> &str {
        self.changes.last().map_or("", |(_, cause)| cause)
    }
}

#[test]
fn silence_with_two_waiting_is_a_stall_whatever_probes_say() {
    let mut world = World::ready();
    world.ask();
    world.ask();
    assert_eq!(world.run(ms(900)), Verdict::Ready);
    world.probe(Check::Passed);
    assert_eq!(world.run(ms(200)), Verdict::Stalled);
    assert_eq!(world.cause(), "nothing came for 1.0s: 2 requests wait, 0 got no answer");
}

#[test]
fn one_long_request_is_no_stall() {
    let mut world = World::ready();
    world.ask();
    assert_eq!(world.run(ms(5_000)), Verdict::Slow, "a suspicion, no more");
    world.end(Ok(()));
    assert_eq!(world.run(TICK), Verdict::Ready);
}

#[test]
fn one_silent_request_is_a_stall_where_peers_complete_theirs() {
    let mut world = World::ready();
    world.ask();
    world.run(ms(800));
    world.peers.completed = Some(world.now);
    assert_eq!(world.run(ms(300)), Verdict::Stalled);
    assert!(world.cause().ends_with("peers complete theirs"), "{}", world.cause());
}

#[test]
fn what_usually_takes_long_may_take_long() {
    let mut world = World::ready();
    world.usual = Some(Duration::from_secs(10));
    (0..4).for_each(|_| world.ask());
    assert_eq!(world.run(ms(39_000)), Verdict::Ready);
    assert_eq!(world.run(ms(1_200)), Verdict::Stalled);
}

#[test]
fn where_nothing_is_usual_only_attempts_out_of_time_count() {
    let mut world = World::unknown();
    world.probe(Check::Passed);
    (0..8).for_each(|_| world.ask());
    assert_eq!(world.run(ms(20_000)), Verdict::Ready, "a cold model may need its time");
    world.end(Err(Class::Timeout));
    world.end(Err(Class::Timeout));
    assert_eq!(world.run(TICK), Verdict::Stalled);
}

#[test]
fn the_peers_usual_latency_stands_in_for_its_own() {
    let mut world = World::ready();
    (world.usual, world.peers.usual) = (None, Some(USUAL));
    (0..2).for_each(|_| world.ask());
    assert_eq!(world.run(ms(1_100)), Verdict::Stalled);
}

#[test]
fn bytes_that_come_are_no_silence() {
    let mut world = World::ready();
    (0..3).for_each(|_| world.ask());
    for _ in 0..50 {
        world.progress.advance(world.now);
        assert_eq!(world.run(ms(300)), Verdict::Ready);
    }
}

#[test]
fn the_rule_can_be_turned_off() {
    let mut world = World::ready();
    world.settings.stall_after = Duration::MAX;
    (0..9).for_each(|_| world.ask());
    assert_eq!(world.run(ms(60_000)), Verdict::Ready);
}

/// A stalled target, all of whose attempts ran out of time.
fn stalled() -> World {
    let mut world = World::ready();
    (0..2).for_each(|_| world.ask());
    assert_eq!(world.run(ms(1_100)), Verdict::Stalled);
    (0..2).for_each(|_| world.end(Err(Class::Timeout)));
    world
}

#[test]
fn probes_do_not_end_a_stall_and_one_real_request_at_a_time_is_offered() {
    let mut world = stalled();
    for _ in 0..3 {
        world.probe(Check::Passed);
    }
    assert_eq!(world.run(ms(1_800)), Verdict::Stalled);
    assert!(!world.trial_open);
    world.run(ms(400));
    assert!(world.trial_open, "the hold-down of 2 s is over");
    world.trial_open = false;
    world.ask();
    world.run(ms(300));
    assert!(!world.trial_open, "taken");
    world.end(Err(Class::Timeout));
    assert_eq!(world.run(ms(3_800)), Verdict::Stalled);
    assert!(!world.trial_open, "the hold-down has doubled");
    world.run(ms(400));
    assert!(world.trial_open);
    world.trial_open = false;
    world.ask();
    world.run(ms(50));
    world.end(Ok(()));
    assert_eq!(world.run(TICK), Verdict::Ready);
    assert_eq!(world.cause(), "a real request completed");
}

#[test]
fn a_trial_that_was_called_off_is_offered_again() {
    let mut world = stalled();
    world.run(ms(2_200));
    assert!(world.trial_open);
    world.trial_open = false;
    world.run(ms(300));
    assert!(!world.trial_open);
    world.run(ms(400));
    assert!(world.trial_open, "nobody was there");
}

#[test]
fn a_request_of_before_that_completes_ends_a_stall_at_once() {
    let mut world = World::ready();
    (0..2).for_each(|_| world.ask());
    world.run(ms(1_500));
    world.end(Ok(()));
    assert_eq!(world.run(TICK), Verdict::Ready);
    assert_eq!(world.run(ms(800)), Verdict::Ready, "what is owed counts from now on");
}

#[test]
fn a_relapse_waits_twice_as_long() {
    let mut world = stalled();
    world.run(ms(2_200));
    world.trial_open = false;
    world.ask();
    world.end(Ok(()));
    assert_eq!(world.run(TICK), Verdict::Ready);
    (0..2).for_each(|_| world.ask());
    assert_eq!(world.run(ms(1_200)), Verdict::Stalled);
    world.run(ms(3_700));
    assert!(!world.trial_open);
    world.run(ms(400));
    assert!(world.trial_open);
}

#[test]
fn a_restart_ends_a_stall() {
    let mut world = stalled();
    (0..3).for_each(|_| world.probe(Check::Refused));
    assert_eq!(world.run(TICK), Verdict::Dead);
    (0..3).for_each(|_| world.probe(Check::Passed));
    assert_eq!(world.run(TICK), Verdict::Ready);
    assert_eq!(world.run(ms(5_000)), Verdict::Ready, "what was owed is forgotten");
}

#[test]
fn a_server_too_busy_for_its_probes_is_busy() {
    let mut world = World::ready();
    for _ in 0..10 {
        world.probe(Check::TimedOut);
        world.ask();
        world.run(ms(200));
        world.end(Ok(()));
        assert!(world.run(ms(200)).takes_traffic(), "{}", world.cause());
    }
    assert_eq!(world.fusion.verdict(), Verdict::Busy);
    assert!(world.cause().starts_with("requests complete"), "{}", world.cause());
    (0..3).for_each(|_| world.probe(Check::Passed));
    assert_eq!(world.run(TICK), Verdict::Ready);
}

#[test]
fn a_server_that_is_gone_is_dead_though_it_was_busy_just_now() {
    let mut world = World::ready();
    world.ask();
    world.end(Ok(()));
    world.pass(ms(10));
    (0..3).for_each(|_| world.probe(Check::Refused));
    assert_eq!(world.run(TICK), Verdict::Dead);
    assert_eq!(world.cause(), "3 probes in a row, the last was refused");
}

#[test]
fn a_busy_server_that_then_refuses_is_dead() {
    let mut world = World::ready();
    (0..3).for_each(|_| world.probe(Check::TimedOut));
    world.pass(ms(10));
    world.ask();
    world.end(Ok(()));
    assert_eq!(world.run(TICK), Verdict::Busy);
    world.ask();
    world.end(Err(Class::Unreachable));
    assert_eq!(world.run(TICK), Verdict::Dead);
}

#[test]
fn a_first_probe_that_times_out_decides_nothing() {
    let mut world = World::unknown();
    world.probe(Check::TimedOut);
    assert_eq!(world.run(TICK), Verdict::Unknown);
    (0..2).for_each(|_| world.probe(Check::TimedOut));
    assert_eq!(world.run(TICK), Verdict::Dead);
    let mut world = World::unknown();
    world.probe(Check::Refused);
    assert_eq!(world.run(TICK), Verdict::Dead, "refused is not timed out");
}

#[test]
fn a_word_of_its_own_is_taken() {
    let lifetime = Duration::from_secs(3);
    for (state, verdict) in [
        (State::Draining, Verdict::Draining),
        (State::Loading, Verdict::Loading),
        (State::Ready, Verdict::Ready),
    ] {
        let mut world = World::ready();
        world.heart.beat(state, None, lifetime, world.now);
        assert_eq!(world.run(TICK), verdict);
    }
    let mut world = World::ready();
    world.heart.beat(State::Ready, Some(1.2), lifetime, world.now);
    assert_eq!(world.run(TICK), Verdict::Busy);
    assert_eq!(world.run(lifetime), Verdict::Ready, "its word has expired");
}

#[test]
fn who_drains_and_goes_away_is_draining_and_then_dead() {
    let mut world = World::ready();
    world.heart.beat(State::Draining, None, Duration::from_secs(3), world.now);
    assert_eq!(world.run(ms(60_000)), Verdict::Draining, "its probes pass, and it asked for none");
    (0..3).for_each(|_| world.probe(Check::Refused));
    assert_eq!(world.run(TICK), Verdict::Dead);
}

#[test]
fn who_drained_and_was_restarted_while_its_word_held_is_back_when_it_no_longer_does() {
    let mut world = World::ready();
    world.heart.beat(State::Draining, None, Duration::from_secs(10), world.now);
    assert_eq!(world.run(TICK), Verdict::Draining);
    (0..3).for_each(|_| world.probe(Check::Refused));
    assert_eq!(world.run(ms(2_000)), Verdict::Draining, "as it said");
    (0..3).for_each(|_| world.probe(Check::Passed));
    assert_eq!(world.run(ms(2_000)), Verdict::Draining, "its word still holds");
    assert_eq!(world.run(ms(6_000)), Verdict::Ready, "another process, which said nothing");
    world.heart.beat(State::Draining, None, Duration::from_secs(3), world.now);
    assert_eq!(world.run(ms(60_000)), Verdict::Draining, "this one said it too");
}

#[test]
fn who_drained_and_was_restarted_unseen_does_not_drain_for_ever() {
    for expected in [None, Some(heartbeat::Settings::default())] {
        let mut world = World::ready();
        world.expected = expected;
        world.heart.beat(State::Draining, None, Duration::from_secs(3), world.now);
        assert_eq!(world.run(ms(299_000)), Verdict::Draining);
        assert!(world.run(ms(1_100)).takes_traffic(), "{}", world.cause());
    }
}

#[test]
fn missed_beats_make_it_slow_and_dead_only_with_its_probes() {
    let mut world = World::ready();
    world.expected = Some(heartbeat::Settings::default());
    for _ in 0..20 {
        world.heart.beat(State::Ready, None, Duration::from_secs(3), world.now);
        assert_eq!(world.run(ms(1_000)), Verdict::Ready);
    }
    assert_eq!(world.run(ms(900)), Verdict::Slow, "suspected, and then gone");
    assert!(world.cause().starts_with("no heartbeat for 1."), "{}", world.cause());
    assert_eq!(world.run(ms(10_000)), Verdict::Slow);
    (0..3).for_each(|_| world.probe(Check::TimedOut));
    assert_eq!(world.run(TICK), Verdict::Dead);
}

#[test]
fn an_unprobed_server_lives_by_its_heartbeat() {
    let mut world = World::unknown();
    world.expected = Some(heartbeat::Settings::default());
    world.heart.beat(State::Ready, None, Duration::from_secs(3), world.now);
    assert_eq!(world.run(TICK), Verdict::Ready);
    assert_eq!(world.run(ms(4_000)), Verdict::Dead);
    world.heart.beat(State::Ready, None, Duration::from_secs(3), world.now);
    assert_eq!(world.run(TICK), Verdict::Ready);
    world.run(ms(1_000));
    world.ask();
    world.end(Ok(()));
    assert_eq!(world.run(ms(4_000)), Verdict::Slow, "requests complete: not dead");
}

#[test]
fn counters_tell_busy_from_dead() {
    let mut world = World::ready();
    world.page(10.0, 2.0);
    (0..3).for_each(|_| world.probe(Check::TimedOut));
    world.pass(ms(10));
    world.page(20.0, 5.0);
    assert_eq!(world.run(TICK), Verdict::Busy);
    assert_eq!(world.cause(), "its own counters advance, though 3 probes in a row failed");
    assert_eq!(world.run(BELIEVED), Verdict::Dead, "they stand still");
}

#[test]
fn counters_that_stand_still_with_work_to_do_are_a_stall() {
    let mut world = World::ready();
    for _ in 0..15 {
        world.page(20.0, 5.0);
        world.run(TICK);
    }
    assert_eq!(world.fusion.verdict(), Verdict::Stalled);
    assert_eq!(world.cause(), "its own counters stand still for 1.0s with 5 requests to do");
    world.page(21.0, 4.0);
    assert_eq!(world.run(TICK), Verdict::Ready);
    assert_eq!(world.cause(), "its own counters advance again");
}

#[test]
fn a_long_queue_that_moves_is_no_stall() {
    let mut world = World::ready();
    world.page(1.0, 9.0);
    (0..4).for_each(|_| world.ask());
    for done in 2..30 {
        world.page(f64::from(done), 9.0);
        assert!(world.run(TICK).takes_traffic());
    }
    assert_eq!(world.fusion.verdict(), Verdict::Busy);
}

#[test]
fn slow_calls_make_it_slow_and_cost_it_no_traffic() {
    let mut world = World::ready();
    world.slow = (6, 12);
    assert_eq!(world.run(TICK), Verdict::Slow);
    assert_eq!(world.cause(), "6 of the last 12 calls were slow");
    assert!(Verdict::Slow.takes_traffic());
    world.slow = (1, 12);
    assert_eq!(world.run(TICK), Verdict::Ready);
}

#[test]
fn hedges_do_not_hide_a_stall() {
    let mut world = World::ready();
    for _ in 0..12 {
        world.ask();
        world.pass(ms(60));
        let started = world.under_way.pop().unwrap();
        world.progress.overtaken(started, world.now);
        world.run(ms(100));
    }
    assert_eq!(world.fusion.verdict(), Verdict::Stalled, "{}", world.cause());
}

#[test]
fn a_request_long_after_one_that_ran_out_of_time_is_given_its_own() {
    let mut world = World::ready();
    world.ask();
    world.run(ms(300));
    world.end(Err(Class::Timeout));
    world.run(ms(500));
    world.peers.completed = Some(world.now);
    assert_eq!(world.run(ms(30_000)), Verdict::Ready, "one that ran out of time is no stall");
    world.ask();
    assert_eq!(world.run(ms(300)), Verdict::Ready);
}

#[test]
fn a_busy_word_or_a_slow_verdict_makes_the_share_smaller() {
    let signals = |load| Signals {
        now: Moment::ZERO,
        probes: Probes::default(),
        traffic: Traffic::default(),
        usual: None,
        slow: (0, 0),
        peers: Peers::default(),
        heartbeat: Some(Report {
            state: State::Ready,
            load,
            presence: Presence::Present,
            age: ms(1),
            phi: 0.0,
        }),
        counters: None,
        trial_open: false,
    };
    let ready = Fusion { verdict: Verdict::Ready, ..Fusion::default() };
    let slow = Fusion { verdict: Verdict::Slow, ..Fusion::default() };
    assert!((ready.favour(&signals(None)) - 1.0).abs() < 1e-6);
    assert!((ready.favour(&signals(Some(1.0))) - 0.5).abs() < 1e-6);
    assert!((slow.favour(&signals(Some(1.0))) - 0.25).abs() < 1e-6);
}

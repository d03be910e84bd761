//! Four servers behind one gateway, in virtual time: the real climb, the real counters, the real
//! watch, and chance from a seed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::*;
use crate::balance::{Rule, SlowStart};
use crate::budget::{Backoff, RetryBudget, RetrySettings};
use crate::chain::{Climb, Context, Member, Next, Plan, Pool, Step};
use crate::target::{self, Key, Target};
use crate::{Class, Moment, Outcome, Ratio, Verdict, failback};

const START: Moment = Moment::from_millis(1_000_000);
const SERVERS: usize = 4;
/// Between two requests: 200 in a second.
const EVERY: Duration = ms(5);

/// How a server behaves at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Behaviour {
    pub(super) latency: Duration,
    pub(super) fails: bool,
}

pub(super) const WELL: Behaviour = Behaviour { latency: ms(20), fails: false };
const SLOW: Behaviour = Behaviour { latency: ms(200), fails: false };

/// What happened in one second.
#[derive(Clone, Debug, Default)]
struct Second {
    picked: [u32; SERVERS],
    shares: [f32; SERVERS],
    latencies: Histogram,
}

pub(super) struct Simulation {
    plan: Plan,
    pub(super) targets: Vec<Arc<Target>>,
    pub(super) watch: Watch,
    rng: fastrand::Rng,
    /// Requests under way by their end: server and start.
    under_way: BinaryHeap<Reverse<(Moment, usize, Moment)>>,
    turn: u32,
    pub(super) now: Moment,
    seconds: Vec<Second>,
    pub(super) changes: Vec<(u64, usize, &'static str, String)>,
}

impl Simulation {
    pub(super) fn new(rule: Rule) -> Self {
        let settings = target::Settings::default();
        let targets: Vec<_> = (0..SERVERS)
            .map(|at| {
                let key = Key {
                    pool: "p".into(),
                    endpoint: format!("s{at}").into(),
                    model: "m".into(),
                    version: None,
                };
                let target = Target::new(at as u32, key, &settings, 1);
                target.health.set(Verdict::Ready, Moment::from_millis(1));
                Arc::new(target)
            })
            .collect();
        let members = targets.iter().map(|t| Member::new(Arc::clone(t), 1.0)).collect();
        let pool = Pool {
            members,
            rule,
            locality: None,
            slow_start: SlowStart::default(),
            limit: ms(10_000),
            backoff: Backoff::default(),
            hedges: None,
        };
        let watch = Watch::new(
            Settings::default(),
            failback::Settings::default(),
            SlowStart::default(),
            targets.clone(),
        );
        Self {
            plan: Plan::new(vec![Step::Pool(pool)], 1, true, ms(10_000)),
            targets,
            watch,
            rng: fastrand::Rng::with_seed(11),
            under_way: BinaryHeap::new(),
            turn: 0,
            now: START,
            seconds: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// So many seconds in which the servers behave like this.
    pub(super) fn run(
        &mut self,
        seconds: u64,
        behave: impl Fn(usize, u64) -> Behaviour,
    ) -> &mut Self {
        for _ in 0..seconds {
            self.second(&behave);
        }
        self
    }

    fn elapsed(&self) -> u64 {
        self.now.since(START).as_secs()
    }

    fn second(&mut self, behave: &impl Fn(usize, u64) -> Behaviour) {
        let shares = std::array::from_fn(|at| self.targets[at].health.share().get());
        self.seconds.push(Second { shares, ..Second::default() });
        let end = self.now + ms(1_000);
        while self.now < end {
            self.complete(behave);
            self.arrive(behave);
            self.now = self.now + EVERY;
        }
        let elapsed = self.elapsed();
        for change in self.watch.tick(self.now) {
            let at = change.target.id as usize;
            self.changes.push((elapsed, at, change.to, change.cause));
        }
    }

    fn arrive(&mut self, behave: &impl Fn(usize, u64) -> Behaviour) {
        self.turn += 1;
        let budget = RetryBudget::new(RetrySettings::default(), 1);
        let mut climb = Climb::new(&self.plan, self.now + ms(10_000), true);
        let next = climb.next(&mut Context {
            now: self.now,
            rng: &mut self.rng,
            turn: self.turn,
            shard: 0,
            retries: &budget,
            candidates: &mut Vec::new(),
        });
        let Next::Attempt(choice) = next else { panic!("nobody at {}: {next:?}", self.elapsed()) };
        let at = choice.member;
        self.seconds.last_mut().expect("a second").picked[at] += 1;
        self.targets[at].load.start();
        let end = self.now + behave(at, self.elapsed()).latency;
        self.under_way.push(Reverse((end, at, self.now)));
    }

    fn complete(&mut self, behave: &impl Fn(usize, u64) -> Behaviour) {
        while let Some(Reverse((end, at, started))) = self.under_way.peek().copied() {
            if end > self.now {
                return;
            }
            self.under_way.pop();
            let (target, latency) = (&self.targets[at], end.since(started));
            let fails = behave(at, self.elapsed()).fails;
            let result = if fails { Err(Class::ServerFault) } else { Ok(()) };
            if fails {
                target.load.failed(latency, self.now);
            } else {
                target.load.finish(Some(latency), self.now);
            }
            target.stats.record(0, &Outcome { result, latency });
            self.seconds.last_mut().expect("a second").latencies.count_one(latency);
        }
    }

    /// When this server first came to this phase.
    fn first(&self, server: usize, phase: &str) -> Option<u64> {
        self.changes.iter().find(|(_, at, to, _)| *at == server && *to == phase).map(|c| c.0)
    }

    /// In no second did a server get more than its ramp share, and the one request that a second
    /// can be unlucky by.
    fn nobody_got_more_than_its_share(&self) {
        for (at, second) in self.seconds.iter().enumerate() {
            let total: u32 = second.picked.iter().sum();
            for (server, (picked, share)) in second.picked.iter().zip(second.shares).enumerate() {
                let most = total as f32 * share / SERVERS as f32 * 1.34 + 1.0;
                assert!(
                    share >= 1.0 || *picked as f32 <= most,
                    "second {at}: server {server} got {picked} of {total} at a share of {share}"
                );
            }
        }
    }
}

#[test]
fn one_that_becomes_ten_times_slower_is_out_within_ten_seconds() {
    for rule in [Rule::PeakEwma, Rule::LeastRequest, Rule::RoundRobin] {
        let mut simulation = Simulation::new(rule);
        simulation.run(20, |_, _| WELL);
        assert_eq!(simulation.changes, []);
        let sick = |at, _| if at == 2 { SLOW } else { WELL };
        simulation.run(10, sick);
        let out = simulation.first(2, "ejected").unwrap_or_else(|| panic!("{rule:?}: not out"));
        assert!(out <= 30, "{rule:?}: {out}");
        assert!(simulation.changes.iter().all(|change| change.1 == 2), "{:?}", simulation.changes);
        // It stays slow: every probation ends in a longer hold, and few requests meet it.
        simulation.run(120, sick);
        let met: u32 = simulation.seconds[30..].iter().map(|second| second.picked[2]).sum();
        assert!(met < 30, "{rule:?}: {met}");
        assert_eq!(simulation.first(2, "ramp"), None);
        let slowest = simulation.seconds[25..].iter().filter_map(|s| s.latencies.quantile(0.95));
        let over = slowest.filter(|latency| *latency > ms(30)).count();
        assert!(over <= 6, "{rule:?}: {over} seconds");
    }
}

#[test]
fn it_comes_back_by_probation_and_ramp_and_never_gets_more_than_its_share() {
    for rule in [Rule::PeakEwma, Rule::LeastRequest, Rule::RoundRobin] {
        let mut simulation = Simulation::new(rule);
        let mended = |at, second| if at == 2 && (20..30).contains(&second) { SLOW } else { WELL };
        simulation.run(90, mended);
        let phases: Vec<_> = simulation.changes.iter().map(|change| change.2).collect();
        let end = phases.len().saturating_sub(3);
        assert_eq!(phases[end..], ["probation", "ramp", "serving"], "{rule:?}");
        simulation.nobody_got_more_than_its_share();
        let last = simulation.seconds.last().expect("seconds");
        assert!(last.picked[2] >= 30, "{rule:?}: {last:?}");
    }
}

#[test]
fn all_four_slower_is_nobodys_fault() {
    let mut simulation = Simulation::new(Rule::PeakEwma);
    simulation.run(60, |_, second| if second < 20 { WELL } else { SLOW });
    assert_eq!(simulation.changes, []);
}

#[test]
fn one_that_flaps_is_held_longer_each_time() {
    let mut simulation = Simulation::new(Rule::RoundRobin);
    // Well for long enough to come back, then slow again.
    let flapping = |at, second| if at == 1 && (second / 30) % 2 == 1 { SLOW } else { WELL };
    simulation.run(600, flapping);
    let holds: Vec<_> = simulation
        .changes
        .iter()
        .filter(|change| change.2 == "ejected")
        .map(|(_, at, _, cause)| (*at, cause.rsplit("held ").next().unwrap_or_default()))
        .collect();
    assert!(holds.iter().all(|(at, _)| *at == 1), "{holds:?}");
    assert!((3..=8).contains(&holds.len()), "{holds:?}");
    assert_eq!(holds[0].1, "10s");
    assert!(holds[1].1.starts_with("20s, relapse 1"), "{holds:?}");
    simulation.nobody_got_more_than_its_share();
}

#[test]
fn one_that_is_back_from_the_dead_gets_its_ramp_share_in_every_second() {
    let mut simulation = Simulation::new(Rule::PeakEwma);
    simulation.run(10, |_, _| WELL);
    simulation.targets[3].health.set(Verdict::Dead, simulation.now);
    simulation.run(10, |_, _| WELL);
    simulation.targets[3].load.forget();
    simulation.targets[3].health.set(Verdict::Ready, simulation.now);
    let back = simulation.seconds.len();
    simulation.run(15, |_, _| WELL);
    for (second, at) in simulation.seconds[back..].iter().zip(0u8..10) {
        let ramp = (0.1 + 0.09 * f32::from(at + 1)).min(1.0);
        let total: u32 = second.picked.iter().sum();
        let most = total as f32 * ramp / 4.0 * 1.05 + 1.0;
        assert!(second.picked[3] as f32 <= most, "second {at}: {second:?}");
        assert!(second.picked[3] > 0);
    }
    assert_eq!(Ratio::ONE, simulation.targets[3].health.share());
}

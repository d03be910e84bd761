//! A limiter before a simulated server, event by event: it must find the server's capacity, and
//! find it again when the server changes. No clock and no chance but a seeded generator, so every
//! run is the same.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use super::{Limiter, Sample, Settings};
use crate::Moment;

/// A server with so many workers and a queue without bound inside.
struct Server {
    workers: usize,
    work: Duration,
    /// How far the work varies, up and down.
    spread: f64,
    running: usize,
    /// When each that waits inside was sent.
    inside: VecDeque<Moment>,
}

/// Requests that arrive at random, a limiter, and what waits before it.
struct World {
    now: Moment,
    rng: fastrand::Rng,
    limiter: Limiter,
    server: Server,
    /// When an answer comes, and when its attempt was sent.
    answers: BinaryHeap<Reverse<(Moment, Moment)>>,
    /// What found no room: bounded, the rest is turned away.
    waiting: usize,
    next_arrival: Moment,
    arrivals: f64,
}

/// What was seen over a time.
#[derive(Debug, Default)]
struct Seen {
    answered: usize,
    latencies: Vec<f64>,
    limits: Vec<u32>,
    turned_away: usize,
}

impl Seen {
    fn mean_limit(&self) -> f64 {
        self.limits.iter().map(|limit| f64::from(*limit)).sum::<f64>() / self.limits.len() as f64
    }

    fn mean_latency(&self) -> f64 {
        self.latencies.iter().sum::<f64>() / self.latencies.len() as f64
    }
}

impl World {
    fn new(workers: usize, work: Duration, spread: f64, seed: u64) -> Self {
        let now = Moment::from_millis(10_000);
        Self {
            now,
            rng: fastrand::Rng::with_seed(seed),
            limiter: Limiter::new(Settings::default()),
            server: Server { workers, work, spread, running: 0, inside: VecDeque::new() },
            answers: BinaryHeap::new(),
            waiting: 0,
            next_arrival: now,
            arrivals: 0.0,
        }
    }

    /// Requests a second that the server can do.
    fn capacity(&self) -> f64 {
        self.server.workers as f64 / self.server.work.as_secs_f64()
    }

    /// Lets `seconds` pass with `load` times the capacity arriving.
    fn pass(&mut self, seconds: u64, load: f64) -> Seen {
        self.arrivals = self.capacity() * load;
        self.next_arrival = self.now + self.gap();
        let end = self.now + Duration::from_secs(seconds);
        let mut seen = Seen::default();
        loop {
            let answer = self.answers.peek().map(|Reverse((at, _))| *at);
            let at = answer.map_or(self.next_arrival, |answer| answer.min(self.next_arrival));
            if at > end {
                self.now = end;
                return seen;
            }
            self.now = at;
            if answer == Some(at) {
                self.answer(&mut seen);
            } else {
                self.arrive(&mut seen);
            }
            self.serve();
            seen.limits.push(self.limiter.limit().unwrap());
            assert!(self.waiting <= 50);
        }
    }

    fn gap(&mut self) -> Duration {
        Duration::from_secs_f64(-self.rng.f64().max(1e-12).ln() / self.arrivals)
    }

    fn arrive(&mut self, seen: &mut Seen) {
        self.next_arrival = self.now + self.gap();
        if self.waiting < 50 {
            self.waiting += 1;
        } else {
            seen.turned_away += 1;
        }
    }

    fn answer(&mut self, seen: &mut Seen) {
        let Some(Reverse((_, sent))) = self.answers.pop() else { return };
        let took = self.now.since(sent);
        self.server.running -= 1;
        self.limiter.release(Sample::Took(took), self.now);
        seen.answered += 1;
        seen.latencies.push(took.as_secs_f64() * 1e3);
    }

    fn serve(&mut self) {
        while self.waiting > 0 && self.limiter.try_acquire() {
            self.waiting -= 1;
            self.server.inside.push_back(self.now);
        }
        while self.server.running < self.server.workers
            && let Some(sent) = self.server.inside.pop_front()
        {
            self.server.running += 1;
            let varied = 1.0 + self.server.spread * (2.0 * self.rng.f64() - 1.0);
            self.answers.push(Reverse((self.now + self.server.work.mul_f64(varied), sent)));
        }
    }
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The answers of these seconds at three times the capacity are nearly all that is possible, and
/// the limit stays near the capacity.
fn assert_settled(world: &mut World, what: &str) {
    let possible = world.capacity() * 20.0;
    let (workers, work) = (world.server.workers as f64, world.server.work.as_secs_f64() * 1e3);
    let seen = world.pass(20, 3.0);
    let goodput = seen.answered as f64 / possible;
    let summary = format!(
        "{what}: goodput {goodput:.2}, limit {:.1} for {workers} workers, latency {:.1} ms for \
         {work} ms of work, {} turned away",
        seen.mean_limit(),
        seen.mean_latency(),
        seen.turned_away,
    );
    assert!(goodput > 0.9, "{summary}");
    assert!(seen.mean_limit() < (workers * 2.5).max(8.0), "{summary}");
    assert!(seen.mean_latency() < work.mul_add(2.5, 10.0).max(work * 8.0 / workers), "{summary}");
}

#[test]
fn a_flood_after_light_load_is_held_to_the_capacity() {
    for (workers, work, spread) in
        [(2, ms(20), 0.0), (4, ms(50), 0.2), (8, ms(20), 0.9), (32, ms(100), 0.5), (64, ms(5), 0.1)]
    {
        let mut world = World::new(workers, work, spread, 7);
        let calm = world.pass(10, 0.3);
        assert!(calm.limits.iter().all(|limit| *limit > 100), "light load was limited");
        world.pass(10, 3.0);
        assert_settled(&mut world, "after light load");
    }
}

#[test]
fn a_server_first_seen_flooded_is_found_out() {
    for (workers, work, spread) in [(4, ms(20), 0.2), (16, ms(50), 0.5)] {
        let mut world = World::new(workers, work, spread, 11);
        world.pass(30, 3.0);
        assert_settled(&mut world, "first seen flooded");
    }
}

#[test]
fn a_server_that_loses_or_gains_workers_is_followed() {
    let mut world = World::new(16, ms(20), 0.2, 3);
    world.pass(5, 0.3);
    world.pass(10, 3.0);
    assert_settled(&mut world, "16 workers");
    world.server.workers = 4;
    world.pass(10, 3.0);
    assert_settled(&mut world, "down to 4");
    world.server.workers = 32;
    world.pass(10, 3.0);
    assert_settled(&mut world, "up to 32");
}

#[test]
fn work_that_takes_longer_is_followed_both_ways() {
    let mut world = World::new(8, ms(20), 0.2, 5);
    world.pass(5, 0.3);
    world.pass(10, 3.0);
    assert_settled(&mut world, "20 ms");
    world.server.work = ms(80);
    world.pass(15, 3.0);
    assert_settled(&mut world, "80 ms");
    world.server.work = ms(10);
    world.pass(10, 3.0);
    assert_settled(&mut world, "10 ms");
}

#[test]
fn longer_work_at_healthy_load_turns_hardly_anyone_away() {
    let mut world = World::new(64, ms(20), 0.3, 5);
    world.pass(10, 0.4);
    world.server.work = ms(60);
    let seen = world.pass(10, 0.4);
    let asked = seen.answered + seen.turned_away;
    assert!(seen.turned_away * 30 < asked, "{} of {asked} turned away", seen.turned_away);
}

#[test]
fn a_sudden_load_is_learnt_within_two_seconds_whatever_the_capacity() {
    for workers in [1, 2, 4, 8, 32, 128, 512] {
        for load in [0.5, 1.0, 1.5, 2.5, 4.0] {
            let mut world = World::new(workers, ms(20), 0.3, 13);
            world.pass(3, 0.3);
            world.pass(2, load);
            let seen = world.pass(5, load);
            let asked = (seen.answered + seen.turned_away) as f64;
            let goodput = seen.answered as f64 / asked.min(world.capacity() * 5.0);
            let longest = f64::max(80.0, 240.0 / workers as f64);
            let summary = format!(
                "{workers} workers, load {load}: goodput {goodput:.2}, latency {:.0} ms, limit {:.1}",
                seen.mean_latency(),
                seen.mean_limit(),
            );
            println!("{summary}");
            assert!(goodput > 0.9, "{summary}");
            assert!(seen.mean_latency() < longest, "{summary}");
        }
    }
}

#[test]
fn idle_time_forgets_nothing_that_costs_throughput() {
    let mut world = World::new(256, ms(20), 0.2, 17);
    world.pass(5, 0.3);
    world.pass(3, 2.0);
    world.pass(20, 0.01);
    let possible = world.capacity();
    let seen = world.pass(1, 1.5);
    assert!(seen.answered as f64 > possible * 0.8, "{} of {possible}", seen.answered);
}

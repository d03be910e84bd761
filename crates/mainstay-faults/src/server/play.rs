//! A script under way: its time, its counts and its workers.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep};

use crate::wire::{Kind, Request};
use crate::{Behaviour, Capacity, Rule, Script};

/// Keeps the draws of rules apart that have seen the same number of requests.
const STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;

/// One script since it was played.
#[derive(Debug)]
pub(crate) struct Play {
    script: Script,
    since: Instant,
    /// For each rule the requests that it concerned.
    asked: Vec<AtomicU64>,
    /// Requests in all, to draw their latency.
    runs: AtomicU64,
    workers: Option<Workers>,
}

#[derive(Debug)]
struct Workers {
    capacity: Capacity,
    free: Semaphore,
    waiting: AtomicUsize,
}

/// The right to run.
#[derive(Debug)]
pub(crate) enum Worker<'a> {
    /// Without limit.
    Free,
    /// Until dropped.
    Taken { _permit: Option<SemaphorePermit<'a>> },
    /// None, and no room to wait.
    Full,
}

impl Worker<'_> {
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Self::Full)
    }
}

impl Play {
    pub(crate) fn new(script: Script) -> Self {
        let workers = script.capacity.map(|capacity| Workers {
            capacity,
            free: Semaphore::new(capacity.workers),
            waiting: AtomicUsize::new(0),
        });
        let asked = script.rules.iter().map(|_| AtomicU64::new(0)).collect();
        Self { script, since: Instant::now(), asked, runs: AtomicU64::new(0), workers }
    }

    /// Whether connections are refused now, and how long until that may change.
    pub(crate) fn refusal(&self) -> (bool, Option<Duration>) {
        let since = self.since.elapsed();
        let rules = self.script.rules.iter().filter(|rule| rule.behave == Behaviour::Refused);
        let phases: Vec<_> = rules.map(|rule| rule.phase(since)).collect();
        let change = phases.iter().filter_map(|(_, change)| *change).min();
        (phases.iter().any(|(holds, _)| *holds), change)
    }

    /// What is done with this request.
    pub(crate) fn choose(&self, request: &Request) -> Rule {
        let since = self.since.elapsed();
        for (place, (rule, asked)) in self.script.rules.iter().zip(&self.asked).enumerate() {
            if !rule.concerns(request.kind(), request.model(), since) {
                continue;
            }
            let number = asked.fetch_add(1, Ordering::Relaxed);
            if rule.means(number, &mut self.chance(place as u64 + 1, number)) {
                return rule.clone();
            }
        }
        Rule::always(Behaviour::Ok)
    }

    /// Waits for a worker.
    pub(crate) async fn worker(&self, kind: Kind) -> Worker<'_> {
        let Some(workers) = &self.workers else { return Worker::Free };
        if kind == Kind::Probe && !workers.capacity.probes {
            return Worker::Free;
        }
        if let Ok(permit) = workers.free.try_acquire() {
            return Worker::Taken { _permit: Some(permit) };
        }
        if workers.waiting.fetch_add(1, Ordering::Relaxed) >= workers.capacity.queue {
            workers.waiting.fetch_sub(1, Ordering::Relaxed);
            return Worker::Full;
        }
        let permit = workers.free.acquire().await.ok();
        workers.waiting.fetch_sub(1, Ordering::Relaxed);
        Worker::Taken { _permit: permit }
    }

    /// Runs the model, that is, waits.
    pub(crate) async fn run(&self, rule: &Rule) {
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        let latency = rule.latency.unwrap_or(self.script.latency);
        let time = latency.draw(&mut self.chance(0, number));
        if !time.is_zero() {
            sleep(time).await;
        }
    }

    fn chance(&self, place: u64, number: u64) -> fastrand::Rng {
        let place = place.wrapping_mul(STRIDE).rotate_left(32);
        fastrand::Rng::with_seed(self.script.seed ^ place ^ number.wrapping_mul(STRIDE))
    }
}

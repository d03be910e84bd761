//! Many workers at one breaker.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::thread;

use super::*;

const WORKERS: usize = 8;
const ROUNDS: usize = 20_000;

#[test]
fn no_more_trials_are_out_than_permits_and_none_leaks() {
    let mut bench = Bench::new(steady());
    bench.trip();
    bench.wait(2_000);
    let (breaker, now) = (&bench.breaker, bench.now);
    let (out, most, admitted) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (out, most, admitted) = (&out, &most, &admitted);
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(worker as u64);
                for round in 0..ROUNDS {
                    let Ok((permit, _)) = breaker.admit(now) else { continue };
                    admitted.fetch_add(1, Ordering::SeqCst);
                    most.fetch_max(out.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    if round % 16 == 0 {
                        thread::yield_now();
                    }
                    out.fetch_sub(1, Ordering::SeqCst);
                    if rng.bool() {
                        breaker.release(permit);
                    } else {
                        let full = Outcome::failure(Class::Capacity, FAST);
                        assert_eq!(breaker.record(worker, permit, full, now, &mut rng), None);
                    }
                }
            });
        }
    });
    assert!(most.load(Ordering::SeqCst) <= 3, "{most:?} at once");
    // How many depends on how the threads are scheduled.
    assert!(admitted.load(Ordering::SeqCst) >= ROUNDS / 10, "{admitted:?} admitted");
    let _all = [bench.permit(), bench.permit(), bench.permit()];
    assert_eq!(breaker.admit(now), Err(Refusal::HalfOpenFull));
}

#[test]
fn a_step_that_was_overtaken_is_taken_again() {
    let mut bench = Bench::new(steady());
    bench.trip();
    bench.wait(2_000);
    let (breaker, now) = (&bench.breaker, bench.now);
    let (mine, other) = (bench.permit(), bench.permit());
    let rules = breaker.rules.load();
    let cx = rules.context(now, None, 0.0);
    let overtaken = Cell::new(false);
    breaker.update(&rules, |word| {
        if !overtaken.replace(true) {
            breaker.release(other);
        }
        word.step_with(mine, Event::Void, &cx)
    });
    let _all = [bench.permit(), bench.permit(), bench.permit()];
    assert_eq!(breaker.admit(now), Err(Refusal::HalfOpenFull));
}

#[test]
fn each_change_of_state_is_reported_once() {
    let settings = Settings { open: Duration::from_millis(1), ..Settings::default() };
    let breaker = Breaker::new(Settings { open_max: settings.open, ..settings }, WORKERS);
    let clock = AtomicI64::new(1_000);
    let mut tallies = [0i64; 3];
    let workers: Vec<_> = thread::scope(|scope| {
        let work = |worker| walk(&breaker, worker, &clock);
        let spawned: Vec<_> = (0..WORKERS).map(|w| scope.spawn(move || work(w))).collect();
        spawned.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    for change in workers.into_iter().flatten() {
        tallies[change.from as usize] -= 1;
        tallies[change.to as usize] += 1;
        assert_ne!(change.from, change.to);
    }
    // It began closed and is in one state now: everything else was entered as often as left.
    tallies[State::Closed as usize] += 1;
    let state = breaker.status(Moment::from_millis(1_000)).state;
    let mut expected = [0i64; 3];
    expected[state as usize] = 1;
    assert_eq!(tallies, expected);
}

/// Random calls of one worker, while the clock goes on.
fn walk(breaker: &Breaker, worker: usize, clock: &AtomicI64) -> Vec<Transition> {
    let mut rng = fastrand::Rng::with_seed(100 + worker as u64);
    let mut changes = Vec::new();
    for _ in 0..ROUNDS {
        let now = Moment::from_millis(clock.fetch_add(1, Ordering::Relaxed).unsigned_abs());
        let Ok((permit, change)) = breaker.admit(now) else { continue };
        changes.extend(change);
        let outcome = match rng.u8(..8) {
            0..=2 => Outcome::success(FAST),
            3..=5 => Outcome::failure(Class::ServerFault, FAST),
            6 => Outcome::failure(Class::NotReady, FAST),
            _ => {
                breaker.release(permit);
                continue;
            }
        };
        changes.extend(breaker.record(worker, permit, outcome, now, &mut rng));
    }
    changes
}

#[test]
fn an_override_set_while_an_old_one_expires_is_not_lost() {
    let breaker = Breaker::new(steady(), 1);
    for round in 0..2_000u64 {
        let now = Moment::from_millis(round * 10);
        breaker.force(Some((Forced::Open, now + Duration::from_millis(1))), now);
        let later = now + Duration::from_millis(2);
        let begun = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                begun.store(true, Ordering::Release);
                breaker.would_admit(later).is_ok()
            });
            while !begun.load(Ordering::Acquire) {
                std::hint::spin_loop();
            }
            breaker.force(Some((Forced::Closed, Moment::MAX)), later);
        });
        assert_eq!(breaker.status(later).forced.map(|(kind, _)| kind), Some(Forced::Closed));
        breaker.force(None, later);
    }
}

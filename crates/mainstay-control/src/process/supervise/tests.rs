//! Tables of events, and random ones against the invariants.

use proptest::prelude::*;

use super::*;

struct Driver {
    process: Process,
    rng: fastrand::Rng,
    now: Moment,
}

fn exit(cause: Cause, ran: Duration) -> Exit {
    Exit { cause, evidence: "exit code 1".to_owned(), ran }
}

impl Driver {
    fn new(restart: Restart) -> Self {
        let rng = fastrand::Rng::with_seed(7);
        Self { process: Process::new(restart), rng, now: Moment::ZERO }
    }

    fn step(&mut self, event: &Event<'_>) -> Step {
        self.process.step(event, "asked", self.now, &mut self.rng)
    }

    fn pass(&mut self, time: Duration) -> Step {
        self.now = self.now + time;
        self.step(&Event::Tick)
    }

    fn run(&mut self) {
        self.step(&Event::Wanted(true));
        self.step(&Event::Started { pid: 1 });
        self.step(&Event::Ready);
        assert!(matches!(self.process.state(), State::Running { pid: 1, .. }));
    }

    /// An exit shortly after the start, and the next start when it comes.
    fn crash(&mut self) -> Duration {
        self.step(&Event::Exited(&exit(Cause::Exited(1), Duration::from_millis(10))));
        let (State::BackingOff { until } | State::CrashLoop { until }) = self.process.state()
        else {
            panic!("{:?}", self.process.state())
        };
        let pause = until.remaining(self.now);
        assert_eq!(self.pass(pause).command, Some(Command::Start));
        self.step(&Event::Started { pid: 1 });
        pause
    }
}

#[test]
fn pauses_double_until_the_crash_loop() {
    let jitter = Ratio::percent(0);
    let mut driver = Driver::new(Restart { jitter, ..Restart::default() });
    driver.run();
    let pauses: Vec<_> = (0..7).map(|_| driver.crash().as_millis()).collect();
    assert_eq!(pauses, [500, 1000, 2000, 4000, 300_000, 300_000, 300_000]);
    assert!(driver.process.is_looping());
    assert_eq!(driver.process.restarts(), 7);
    driver.step(&Event::Ready);
    driver.pass(Duration::from_secs(59));
    assert!(driver.process.is_looping());
    driver.pass(Duration::from_secs(1));
    assert!(!driver.process.is_looping(), "it ran for the whole window");
    assert_eq!(driver.crash().as_millis(), 500);
}

#[test]
fn an_order_ends_the_wait_of_a_crash_loop() {
    let mut driver = Driver::new(Restart { exits: 1, ..Restart::default() });
    driver.run();
    driver.step(&Event::Exited(&exit(Cause::Exited(1), Duration::ZERO)));
    assert!(matches!(driver.process.state(), State::CrashLoop { .. }));
    assert_eq!(driver.step(&Event::Wanted(true)).command, Some(Command::Start));
}

#[test]
fn who_is_not_ready_in_time_is_stopped_and_tried_again() {
    let mut driver = Driver::new(Restart::default());
    driver.step(&Event::Wanted(true));
    driver.step(&Event::Started { pid: 1 });
    let step = driver.pass(Duration::from_secs(300));
    assert_eq!(step.command, Some(Command::Stop));
    assert_eq!(step.change.expect("it changed").cause, "not ready within 300s");
    driver.step(&Event::Exited(&exit(Cause::NotReady, Duration::from_secs(1))));
    assert!(matches!(driver.process.state(), State::BackingOff { .. }));
}

#[test]
fn a_changed_process_is_started_anew_without_a_pause() {
    let mut driver = Driver::new(Restart::default());
    driver.run();
    assert_eq!(driver.step(&Event::Changed).command, Some(Command::Stop));
    let step = driver.step(&Event::Exited(&exit(Cause::Stopped, Duration::from_secs(1))));
    assert_eq!(step.command, Some(Command::Start));
    assert_eq!(driver.process.restarts(), 0);
}

#[test]
fn a_process_that_is_not_to_be_restarted_stays_down() {
    let mut driver = Driver::new(Restart { enabled: false, ..Restart::default() });
    driver.run();
    driver.step(&Event::Exited(&exit(Cause::Exited(0), Duration::ZERO)));
    assert_eq!(driver.process.state(), State::Stopped);
    assert!(!driver.process.is_wanted());
}

#[test]
fn the_end_of_a_guardian_is_no_crash_of_its_processes() {
    let mut driver = Driver::new(Restart { exits: 2, ..Restart::default() });
    for _ in 0..5 {
        driver.run();
        driver.step(&Event::Exited(&exit(Cause::GuardianLost, Duration::ZERO)));
        driver.pass(Duration::from_secs(1));
    }
    assert!(!driver.process.is_looping());
}

fn events() -> impl Strategy<Value = Vec<(u8, u64)>> {
    proptest::collection::vec((0..8u8, 0..100_000u64), 1..300)
}

proptest! {
    /// It is started only when it does not run, stopped only when it does, at rest only where it
    /// is not wanted, and every change has a cause.
    #[test]
    fn commands_fit_what_runs(events in events()) {
        let mut driver = Driver::new(Restart::default());
        let mut runs = false;
        for (kind, millis) in events {
            driver.now = driver.now + Duration::from_millis(millis);
            let ended = exit(Cause::Exited(1), Duration::from_millis(millis));
            let event = match kind {
                0 => Event::Wanted(true),
                1 => Event::Wanted(false),
                2 => Event::Changed,
                3 => Event::Ready,
                4 if runs => Event::Started { pid: 7 },
                5 if runs => { runs = false; Event::Exited(&ended) }
                _ => Event::Tick,
            };
            let step = driver.step(&event);
            match step.command {
                Some(Command::Start) => { prop_assert!(!runs); runs = true; }
                Some(Command::Stop) => prop_assert!(runs),
                None => {}
            }
            if let Some(change) = &step.change {
                prop_assert!(!change.cause.is_empty());
            }
            let at_rest = driver.process.state() == State::Stopped;
            prop_assert!(!at_rest || !driver.process.is_wanted());
            prop_assert!(driver.process.exits.len() <= 5);
        }
    }
}

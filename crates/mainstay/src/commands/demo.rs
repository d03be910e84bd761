//! `mainstay demo`: predictions on real data that go on while their servers are killed, frozen
//! and restarted.
//!
//! Nothing here is simulated. The model servers and the gateway are processes of this same
//! program, tied to it; faults are signals; every figure comes from what the clients saw and from
//! what the gateway told of itself.
//!
//! ```text
//! timetable ──acts──▶ stage (processes) ◀──requests── traffic
//!                        │                              │
//!                        └──events, records──▶ watch ──▶ journal ──▶ measure ──▶ view, summary
//! ```

use std::cell::RefCell;
use std::process::ExitCode;
use std::rc::Rc;

use mainstay_telemetry::Clock;
use tokio::task::LocalSet;

mod client;
mod digits;
mod director;
mod journal;
mod keep;
mod measure;
mod process;
mod stage;
mod summary;
mod timetable;
mod traffic;
mod view;
mod watch;

use director::Ending;
use journal::Journal;
use stage::Stage;
use summary::Summary;
use timetable::Timetable;
use view::View;

/// As a shell reports a process that SIGINT ended.
const INTERRUPTED: u8 = 130;

/// Arguments of `mainstay demo`.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mainstay demo\n  mainstay demo --fast --json\n  mainstay demo --keep"
)]
pub(crate) struct Args {
    /// Print one JSON object instead of tables.
    #[arg(long)]
    json: bool,
    /// A short run of less than 15 seconds.
    #[arg(long)]
    fast: bool,
    /// Leave everything running at the end, until Ctrl-C.
    #[arg(long)]
    keep: bool,
}

impl Args {
    /// Plays the demo; the code is 1 if a client saw an error.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, self.play())
    }

    async fn play(self) -> anyhow::Result<ExitCode> {
        let clock = Clock::start();
        let timetable = if self.fast { Timetable::fast() } else { Timetable::full() };
        let mut view = View::new(&timetable);
        view.say("starting five model servers and a gateway on loopback");
        let mut stage = tokio::select! {
            stage = Stage::set() => stage?,
            () = process::interrupted() => return Ok(ExitCode::from(INTERRUPTED)),
        };
        let journal = Rc::new(RefCell::new(Journal::default()));
        let ending = director::direct(clock, &timetable, &mut stage, &journal, &mut view).await?;
        view.finish();
        let journal = journal.take();
        let summary = Summary::of(&journal);
        summary.print(self.json, &journal)?;
        if matches!(ending, Ending::Interrupted) {
            return Ok(ExitCode::from(INTERRUPTED));
        }
        if self.keep {
            keep::until_interrupted(&stage).await?;
        }
        Ok(ExitCode::from(u8::from(summary.client_errors > 0)))
    }
}

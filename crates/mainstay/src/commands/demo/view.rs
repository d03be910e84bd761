//! What is happening, on standard error: a live table with a progress bar on a terminal, plain
//! lines elsewhere. Standard output is the summary's.

use std::time::Duration;

use console::style;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::journal::{Journal, Source};
use super::stage::{Server, Stage, State};
use super::timetable::Timetable;

/// Between two plain lines on how things stand.
const PLAIN_EVERY: Duration = Duration::from_secs(2);

/// Where the demo tells what is happening.
pub(super) struct View {
    live: Option<Live>,
    expected: Duration,
    last_plain: Duration,
}

/// The live table: one line for each source, below the lines of what happened.
struct Live {
    all: MultiProgress,
    bar: ProgressBar,
    rows: Vec<ProgressBar>,
}

impl Live {
    fn new(expected: Duration) -> Self {
        let all = MultiProgress::new();
        let bar = all.add(ProgressBar::new(millis(expected)).with_style(bar_style()));
        let row = |_| all.add(ProgressBar::no_length().with_style(row_style()));
        let rows = Source::ALL.iter().map(row).collect();
        Self { all, bar, rows }
    }
}

fn bar_style() -> ProgressStyle {
    ProgressStyle::with_template("\n{bar:40.cyan/dim} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn row_style() -> ProgressStyle {
    ProgressStyle::with_template("  {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl View {
    /// A view of a demo of this timetable.
    pub(super) fn new(timetable: &Timetable) -> Self {
        let terminal = console::user_attended_stderr();
        let live = terminal.then(|| Live::new(timetable.expected()));
        Self { live, expected: timetable.expected(), last_plain: Duration::ZERO }
    }

    /// Says something once.
    pub(super) fn say(&self, text: &str) {
        match &self.live {
            // A terminal that is gone has no reader either.
            Some(live) => drop(live.all.println(text)),
            None => eprintln!("{text}"),
        }
    }

    /// Something was broken.
    pub(super) fn fault(&self, at: Duration, text: &str) {
        self.say(&format!("{} {}", time(at), style(text).for_stderr().red().bold()));
    }

    /// Something was mended.
    pub(super) fn repair(&self, at: Duration, text: &str) {
        self.say(&format!("{} {}", time(at), style(text).for_stderr().green().bold()));
    }

    /// The gateway changed its mind.
    pub(super) fn change(&self, at: Duration, text: &str) {
        self.say(&format!("{}   {}", time(at), style(text).for_stderr().dim()));
    }

    /// How things stand.
    pub(super) fn update(&mut self, at: Duration, journal: &Journal, stage: &Stage) {
        let errors = journal.client_errors();
        let totals = format!("{} requests, {errors} errors", journal.played.len());
        if let Some(live) = &self.live {
            live.bar.set_position(millis(at.min(self.expected)));
            live.bar.set_message(format!("{:.0} s   {totals}", at.as_secs_f64()));
            for (row, source) in live.rows.iter().zip(Source::ALL) {
                row.set_message(line(source, journal, stage));
            }
        } else if at >= self.last_plain + PLAIN_EVERY {
            self.last_plain = at;
            let answered =
                |source: &Source| format!("{} {}", source.as_str(), journal.by(*source).0);
            let answered: Vec<_> = Source::ALL.iter().map(answered).collect();
            self.say(&format!("{} {totals}; {}", time(at), answered.join(", ")));
        }
    }

    /// Takes the live table away.
    pub(super) fn finish(&mut self) {
        if let Some(live) = self.live.take() {
            live.rows.iter().for_each(ProgressBar::finish_and_clear);
            live.bar.finish_and_clear();
        }
    }
}

fn time(at: Duration) -> String {
    format!("{:5.1} s", at.as_secs_f64())
}

/// One source: what it has answered, how well, and how its servers are.
fn line(source: Source, journal: &Journal, stage: &Stage) -> String {
    let (answers, right) = journal.by(source);
    let servers = match source {
        Source::Forest => states(&stage.forest),
        Source::Boosting => states(&stage.boosting),
        Source::Embedded => "inside the gateway".to_owned(),
        Source::Default => "for digits that the small model is not sure of".to_owned(),
    };
    format!(
        "{:9}{answers:6} answers  {:>7} right   {servers}",
        source.as_str(),
        share(right, answers)
    )
}

/// `98.8 %`, or a dash where there is nothing to divide.
pub(super) fn share(part: usize, whole: usize) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    format!("{:.1} %", part as f64 / whole as f64 * 100.0)
}

fn states(servers: &[Server]) -> String {
    servers.iter().map(state).collect::<Vec<_>>().join("  ")
}

fn state(server: &Server) -> String {
    let word = match server.state {
        State::Up => style("up").green(),
        State::Killed => style("killed").red(),
        State::Frozen => style("frozen").blue(),
        State::Starting => style("starting").yellow(),
    };
    format!("{} {}", server.name, word.for_stderr())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_nothing_is_a_dash() {
        assert_eq!(share(0, 0), "-");
        assert_eq!(share(593, 600), "98.8 %");
    }
}

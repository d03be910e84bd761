//! Logs: for people on a terminal, for collectors otherwise; on standard error.
//!
//! Lines are written by a thread of their own behind a bounded queue. A terminal that was
//! stopped or a collector that reads no more would otherwise hold up whoever logs, and that may
//! be a worker of the data path; so lines are lost instead, and counted.

use std::io::{self, IsTerminal};
use std::str::FromStr;

use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::error::Error;

mod writer;

pub use writer::{Flush, lines_lost};

/// Overrides the configured level: `debug`, or `info,mainstay_gateway=trace`.
pub const LEVEL_VARIABLE: &str = "MAINSTAY_LOG";

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// [`Format::Pretty`] on a terminal, [`Format::Json`] otherwise.
    #[default]
    Auto,
    /// For people; with colours on a terminal, unless `NO_COLOR` is set.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// Sets up the program's log. `level` is a level or a list of `target=level`; the environment
/// variable [`LEVEL_VARIABLE`] goes before it. Hold the returned value to the end of the program:
/// dropping it waits for what is still queued.
///
/// # Errors
/// The level cannot be read, or the log is set up already.
pub fn init(level: &str, format: Format) -> Result<Flush, Error> {
    let given = std::env::var(LEVEL_VARIABLE).ok().filter(|given| !given.is_empty());
    let filter = targets(given.as_deref().unwrap_or(level))?;
    let terminal = io::stderr().is_terminal();
    let (writer, flush) = writer::start(io::stderr())?;
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let layer = if format.is_json(terminal) {
        lines.json().flatten_event(true).boxed()
    } else {
        lines.with_ansi(terminal && !no_colour()).boxed()
    };
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(filter));
    subscriber.try_init().map_err(|_| Error::Twice)?;
    Ok(flush)
}

impl Format {
    fn is_json(self, terminal: bool) -> bool {
        match self {
            Self::Auto => !terminal,
            Self::Pretty => false,
            Self::Json => true,
        }
    }
}

fn targets(directives: &str) -> Result<Targets, Error> {
    Targets::from_str(directives)
        .map_err(|source| Error::Level { directives: directives.to_owned(), source })
}

/// As <https://no-color.org> asks.
fn no_colour() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn a_level_or_a_list_of_targets_is_taken() {
        assert!(targets("info").unwrap().would_enable("mainstay_gateway", &Level::INFO));
        let list = targets("warn,mainstay_probe=debug").unwrap();
        assert!(list.would_enable("mainstay_probe", &Level::DEBUG));
        assert!(!list.would_enable("mainstay_gateway", &Level::INFO));
    }

    #[test]
    fn a_wrong_level_is_named() {
        let error = targets("info,x=loud").unwrap_err();
        assert_eq!(error.to_string(), "\"info,x=loud\" is no log level");
    }

    #[test]
    fn only_auto_looks_at_the_terminal() {
        let json = |format: Format| [format.is_json(true), format.is_json(false)];
        assert_eq!(json(Format::Auto), [false, true]);
        assert_eq!(json(Format::Pretty), [false, false]);
        assert_eq!(json(Format::Json), [true, true]);
    }
}

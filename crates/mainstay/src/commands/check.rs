//! `mainstay check FILE`: everything that is wrong with a configuration, at once.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use mainstay_config::{Config, Errors, Fault, render_graphical, render_plain};
use serde_json::{Value, json};

/// Exit code of a configuration that is refused.
const REFUSED: u8 = 2;

/// Arguments of `mainstay check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mainstay check mainstay.yaml\n\n\
    Exit code 0: the configuration is valid. 2: it is refused, with every reason.")]
pub(crate) struct Args {
    /// The configuration file.
    file: PathBuf,
    /// Print a JSON list of errors and warnings: severity, code, file, line, column, message,
    /// help.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Reads the file and says what it found.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let result = Config::load(&self.file);
        let faults = match &result {
            Ok(config) => &config.warnings,
            Err(errors) => errors.faults(),
        };
        if self.json {
            println!("{:#}", Value::from_iter(faults.iter().map(as_json)));
        } else {
            eprint!("{}", rendered(faults));
            println!("{}", summary(&self.file.display().to_string(), &result, faults.len()));
        }
        Ok(if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
    }
}

/// Shows why a configuration is refused; the exit code that says so.
pub(crate) fn refuse(errors: &Errors) -> ExitCode {
    eprint!("{}", rendered(errors.faults()));
    ExitCode::from(REFUSED)
}

/// Drawn on a terminal, plain otherwise.
pub(crate) fn rendered(faults: &[Fault]) -> String {
    if faults.is_empty() {
        return String::new();
    }
    if !io::stderr().is_terminal() {
        return format!("{}\n", render_plain(faults));
    }
    let (_, width) = console::Term::stderr().size();
    render_graphical(faults, width.into(), console::colors_enabled_stderr())
}

fn summary(file: &str, result: &Result<Config, Errors>, faults: usize) -> String {
    let Ok(config) = result else { return format!("refused: {file}: {}", count(faults, "error")) };
    let endpoints = config.pools.iter().map(|pool| pool.endpoints.len()).sum();
    let parts = [
        count(config.models.len(), "model"),
        count(config.pools.len(), "pool"),
        count(endpoints, "endpoint"),
        count(faults, "warning"),
    ];
    format!("ok: {file}: {}", parts.join(", "))
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn as_json(fault: &Fault) -> Value {
    let position = fault.position();
    json!({
        "severity": if fault.is_warning() { "warning" } else { "error" },
        "code": fault.code().as_str(),
        "file": fault.file(),
        "line": position.map(|(line, _)| line),
        "column": position.map(|(_, column)| column),
        "message": fault.message(),
        "help": fault.help(),
    })
}

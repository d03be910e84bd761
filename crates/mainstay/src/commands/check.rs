//! `mainstay check FILE`: everything that is wrong with a configuration, at once.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use mainstay_config::{
    Config, Difference, Digest, Errors, Fault, default_state_dir, render_graphical, render_plain,
};
use serde_json::{Value, json};

use crate::admin_client::AdminClient;

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
    /// Also show what it would change in a running gateway, and what that needs.
    #[arg(long)]
    against_running: bool,
    #[command(flatten)]
    admin: AdminClient,
}

impl Args {
    /// Reads the file and says what it found.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let result = Config::load(&self.file);
        let faults = match &result {
            Ok(config) => &config.warnings,
            Err(errors) => errors.faults(),
        };
        if let (true, Ok(config)) = (self.against_running, &result) {
            return self.compare(config);
        }
        if self.json {
            println!("{:#}", Value::from_iter(faults.iter().map(Fault::to_json)));
        } else {
            eprint!("{}", rendered(faults));
            println!("{}", summary(&self.file.display().to_string(), &result, faults.len()));
        }
        Ok(if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
    }
}

impl Args {
    /// Shows what a valid configuration would change.
    fn compare(&self, config: &Config) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start a runtime")?;
        let running: Digest = runtime.block_on(self.admin.get("/api/configuration"))?;
        let difference = difference(&running, config);
        if self.json {
            println!("{:#}", json!(difference));
        } else {
            eprint!("{}", rendered(&config.warnings));
            print!("{difference}");
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Where the file leaves to the environment what is fixed, the gateway's own environment counts,
/// and not that of whoever compares.
fn difference(running: &Digest, config: &Config) -> Difference {
    let mut difference = Difference::of(running, &Digest::of(config));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let by_default = |key: &str| match key {
        "state-dir" => config.state_dir == default_state_dir(),
        "workers" => config.workers == cores,
        _ => false,
    };
    difference.restart.retain(|key| !by_default(key));
    difference
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

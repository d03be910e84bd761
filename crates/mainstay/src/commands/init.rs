//! `mainstay init URL…`: asks model servers what they have and writes a first configuration.
//!
//! What is written is read again before it leaves this command, so `mainstay check` accepts it.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use mainstay_config::{Config, EndpointUrl};

use super::check;

mod ask;
mod write;

#[cfg(test)]
mod tests;

/// Arguments of `mainstay init`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mainstay init http://10.0.0.1:8000 http://10.0.0.2:8000 \
    --output mainstay.yaml\n\nServers that keep no index of their models (POST \
    /v2/repository/index) need them named:\n  mainstay init http://10.0.0.1:8080 --model fraud")]
pub(crate) struct Args {
    /// Servers that speak the Open Inference Protocol V2, TensorFlow Serving's REST API or KServe's
    /// V1 protocol, or TorchServe's inference API.
    #[arg(required = true)]
    urls: Vec<EndpointUrl>,
    /// A model to ask for, beside those in the servers' index; may be given several times.
    #[arg(long = "model", value_name = "NAME")]
    models: Vec<String>,
    /// Write to this file, which must not exist yet, instead of standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Seconds to wait for each answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    timeout: u16,
}

impl Args {
    /// Asks, writes, and reads what was written.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let text = self.configuration()?;
        if let Err(errors) = Config::parse("mainstay.yaml", &text) {
            eprint!("{}", check::rendered(errors.faults()));
            bail!("what the servers say makes no valid configuration");
        }
        match &self.output {
            None => print!("{text}"),
            Some(path) => {
                create(path, &text)?;
                eprintln!(
                    "wrote {}; look it through, then: mainstay serve --config {0}",
                    path.display()
                );
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The text of a configuration for what the servers have.
    fn configuration(&self) -> anyhow::Result<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let timeout = Duration::from_secs(self.timeout.max(1).into());
        let servers = runtime.block_on(ask::servers(&self.urls, &self.models, timeout))?;
        Ok(write::configuration(&servers))
    }
}

/// Writes a new file; an existing one is never overwritten.
pub(super) fn create(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut file = match OpenOptions::new().write(true).create_new(true).open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{} exists already; move it away or choose another name", path.display())
        }
        file => file.with_context(|| format!("cannot create {}", path.display()))?,
    };
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

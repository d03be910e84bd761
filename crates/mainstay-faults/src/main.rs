//! The program `mainstay-faults`: one server that misbehaves, and its control listener.
//!
//! Exit codes: 0 ended by SIGTERM or SIGINT, 1 failed, 2 arguments that make no sense.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use mainstay_faults::{Behaviour, Capacity, Control, Latency, Paths, Rule, Script, Server};
use tokio::signal::unix::{SignalKind, signal};

/// How long requests under way may take after SIGTERM.
const DRAIN: Duration = Duration::from_secs(2);

/// A server of the Open Inference Protocol that misbehaves by script.
#[derive(Debug, Parser)]
#[command(
    name = "mainstay-faults",
    after_help = "Example:\n  mainstay-faults --listen 127.0.0.1:8000 --control 127.0.0.1:8900 --behave 503 --share 0.3\n  \
                  curl -T repaired.yaml http://127.0.0.1:8900/script"
)]
struct Args {
    /// Where to serve; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where scripts are changed and the journal is read.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    control: SocketAddr,
    /// The script to begin with, YAML or JSON.
    #[arg(long, value_name = "FILE", conflicts_with = "behave")]
    script: Option<PathBuf>,
    /// The journal as JSON lines, after what the file holds.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    #[command(flatten)]
    rule: RuleArgs,
    /// How long a good request takes.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, conflicts_with = "script")]
    latency: Option<Duration>,
    /// Requests at a time; others wait.
    #[arg(long, value_name = "N", conflicts_with = "script")]
    workers: Option<usize>,
    /// Requests that may wait.
    #[arg(long, value_name = "N", default_value_t = 1024, conflicts_with = "script")]
    queue: usize,
}

/// One rule by flags.
#[derive(Debug, clap::Args)]
struct RuleArgs {
    /// What is done: 503, reset, black-hole, slow-drip and so on.
    #[arg(long, value_name = "WHAT")]
    behave: Option<Behaviour>,
    /// Only on these paths: any, probe or infer.
    #[arg(long, value_name = "PATHS", default_value = "any", value_parser = paths, requires = "behave")]
    path: Paths,
    /// Only for this model.
    #[arg(long, value_name = "NAME", requires = "behave")]
    model: Option<String>,
    /// The share of those requests.
    #[arg(long, value_name = "SHARE", default_value_t = 1.0, requires = "behave")]
    share: f64,
    /// Where chance comes from.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// From this time on.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, requires = "behave")]
    after: Option<Duration>,
    /// For so long.
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration, requires = "behave")]
    lasts: Option<Duration>,
    /// Seconds for a Retry-After header.
    #[arg(long, value_name = "SECONDS", requires = "behave")]
    retry_after: Option<u64>,
}

fn paths(text: &str) -> Result<Paths, String> {
    match text {
        "any" => Ok(Paths::Any),
        "probe" => Ok(Paths::Probe),
        "infer" => Ok(Paths::Infer),
        _ => Err("any, probe or infer".to_owned()),
    }
}

impl Args {
    fn script(&self) -> anyhow::Result<Script> {
        if let Some(file) = &self.script {
            let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
            return Ok(text.parse()?);
        }
        let flags = &self.rule;
        let rule = flags.behave.map(|behave| Rule {
            path: flags.path,
            model: flags.model.clone(),
            share: flags.share,
            after: flags.after.unwrap_or_default(),
            lasts: flags.lasts,
            retry_after: flags.retry_after,
            ..Rule::always(behave)
        });
        let queue = self.queue;
        Ok(Script {
            seed: flags.seed,
            latency: Latency::Fixed(self.latency.unwrap_or_default()),
            capacity: self.workers.map(|workers| Capacity { workers, queue, probes: true }),
            rules: rule.into_iter().collect(),
        })
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(&args))
}

async fn serve(args: &Args) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let server = Server::start_at(args.listen, args.script()?, args.journal.as_deref()).await?;
    let control = Control::start(args.control, &server).await?;
    println!("mainstay-faults: listening on http://{}", server.address());
    println!("mainstay-faults: control on http://{}", control.address());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    server.drain(DRAIN).await;
    Ok(())
}

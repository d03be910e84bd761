//! `mainstay serve`: the gateway itself.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use mainstay_config::{Config, LogFormat};
use mainstay_gateway::{Gateway, Inherited, Lifecycle, Origin};
use mainstay_telemetry::{Clock, log};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::check;

/// Arguments of `mainstay serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mainstay serve --config mainstay.yaml")]
pub(crate) struct Args {
    /// The configuration; `mainstay check FILE` says whether it is right.
    #[arg(long, short, env = "MAINSTAY_CONFIG", value_name = "FILE")]
    config: PathBuf,
}

impl Args {
    /// Serves until SIGTERM or SIGINT, then drains.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let config = match Config::load(&self.config) {
            Ok(config) => config,
            Err(errors) => return Ok(check::refuse(&errors)),
        };
        // Dropped last: it writes what is still queued.
        let _flush = log::init(config.log.level.as_str(), format(config.log.format))
            .context("cannot start the log")?;
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        // The control runtime: probes, admin, housekeeping. Requests have threads of their own.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the control runtime")?;
        runtime.block_on(serve(config, self.config))?;
        Ok(ExitCode::SUCCESS)
    }
}

async fn serve(config: Config, file: PathBuf) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let clock = Clock::start();
    let inherited = Inherited::from_env().context("cannot use the sockets that were given")?;
    let origin = Origin { file: Some(file), inherited };
    let scheme = |secure: bool| if secure { "https" } else { "http" };
    let schemes = (scheme(config.listen.tls.is_some()), scheme(config.admin.tls.is_some()));
    let gateway = Gateway::build(config, clock, seed(&clock), origin).await?;
    let addresses = gateway.addresses().context("cannot tell the listeners' addresses")?;
    println!("mainstay: listening on {}://{}", schemes.0, addresses.http);
    if let Some(grpc) = addresses.grpc {
        println!("mainstay: gRPC on {}://{grpc}", schemes.0);
    }
    println!("mainstay: admin on {}://{}", schemes.1, addresses.admin);
    for (name, address) in &addresses.tcp {
        println!("mainstay: tcp {name} on {address}");
    }
    let signals = tokio::spawn(obey(gateway.lifecycle()));
    gateway.run(asked_to_stop(&mut terminate, &mut interrupt)).await?;
    signals.abort();
    Ok(())
}

/// SIGHUP reads the configuration again, SIGUSR2 hands over to the program's new file.
async fn obey(lifecycle: Lifecycle) {
    let signals = (signal(SignalKind::hangup()), signal(SignalKind::user_defined2()));
    let (Ok(mut hangup), Ok(mut second)) = signals else {
        tracing::error!("SIGHUP and SIGUSR2 cannot be waited for");
        return;
    };
    loop {
        // What is wrong has been told of.
        tokio::select! {
            _ = hangup.recv() => drop(lifecycle.reload("SIGHUP").await),
            _ = second.recv() => drop(lifecycle.upgrade("SIGUSR2").await),
        }
    }
}

async fn asked_to_stop(terminate: &mut Signal, interrupt: &mut Signal) -> String {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM".to_owned(),
        _ = interrupt.recv() => "SIGINT".to_owned(),
    }
}

const fn format(configured: LogFormat) -> log::Format {
    match configured {
        LogFormat::Auto => log::Format::Auto,
        LogFormat::Pretty => log::Format::Pretty,
        LogFormat::Json => log::Format::Json,
    }
}

/// Different in every process, so that request ids and jitter are.
fn seed(clock: &Clock) -> u64 {
    let since_epoch = clock.wall(clock.now()).duration_since(std::time::UNIX_EPOCH);
    let nanos = since_epoch.map_or(0, |since| since.as_nanos());
    // The low bits change fastest; the process id parts gateways that start together.
    (nanos as u64).rotate_left(20) ^ u64::from(std::process::id())
}

//! `mainstay model-server`: the embedded engine as a model server process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use mainstay_model_server::{Error, Options, Server};
use mainstay_onnx::Engine;
use tokio::signal::unix::{SignalKind, signal};

mod register;

use register::Register;

/// Arguments of `mainstay model-server`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  mainstay model-server --model fraud=models/fraud.onnx --listen 127.0.0.1:8000\n  \
                  curl http://127.0.0.1:8000/v2/models/fraud"
)]
pub(crate) struct Args {
    /// A model to serve; may be given several times.
    #[arg(long = "model", required = true, value_name = "NAME=FILE", value_parser = named_file)]
    models: Vec<(String, PathBuf)>,
    /// Load no model before it is asked for (POST /v2/repository/models/NAME/load).
    #[arg(long)]
    unloaded: bool,
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8000")]
    listen: SocketAddr,
    /// A further address, for gRPC; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS")]
    grpc: Option<SocketAddr>,
    /// Threads that run models.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    /// Requests that may wait for a thread; those beyond it get 503.
    #[arg(long, value_name = "N", default_value_t = 256)]
    queue: usize,
    /// What runs the models.
    #[arg(long, value_enum, default_value_t = EngineName::Tract)]
    engine: EngineName,
    /// The shared library of onnxruntime.
    #[arg(long, value_name = "PATH", required_if_eq("engine", "onnxruntime"))]
    library: Option<PathBuf>,
    #[command(flatten)]
    register: Register,
}

/// The engines by name.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum EngineName {
    /// tract, built in.
    Tract,
    /// The onnxruntime shared library that --library names.
    #[value(name = "onnxruntime")]
    OnnxRuntime,
}

fn named_file(argument: &str) -> Result<(String, PathBuf), String> {
    match argument.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => {
            Ok((name.to_owned(), PathBuf::from(file)))
        }
        _ => Err("write it as NAME=FILE, for example fraud=models/fraud.onnx".to_owned()),
    }
}

impl Args {
    /// Serves until SIGTERM or SIGINT, then lets running requests end.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        // Models run on threads of their own; one thread is enough to read and write.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        let register = self.register.clone();
        runtime.block_on(serve(self.into_options(), register))
    }

    fn into_options(self) -> Options {
        let engine = match self.engine {
            EngineName::Tract => Engine::Tract,
            EngineName::OnnxRuntime => Engine::OnnxRuntime,
        };
        Options {
            listen: self.listen,
            grpc: self.grpc,
            models: self.models,
            unloaded: self.unloaded,
            engine: mainstay_onnx::Options { engine, library: self.library },
            threads: usize::from(self.threads),
            queue: self.queue,
            ..Options::default()
        }
    }
}

async fn serve(options: Options, register: Register) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let server = match Server::bind(options) {
        Err(error @ Error::Duplicate(_)) => {
            eprintln!("mainstay: {error}");
            return Ok(ExitCode::from(2));
        }
        other => other?,
    };
    for (name, reason) in server.unavailable() {
        eprintln!("mainstay: the model {name} is not ready: {reason}");
    }
    println!("mainstay: listening on http://{}", server.local_addr());
    if let Some(address) = server.grpc_addr() {
        println!("mainstay: gRPC on http://{address}");
    }
    let registration = register.begin(server.local_addr())?;
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        // While it still serves: whoever is asked at this moment answers.
        if let Some(registration) = registration {
            registration.end().await;
        }
    };
    server.run(stop).await;
    Ok(ExitCode::SUCCESS)
}

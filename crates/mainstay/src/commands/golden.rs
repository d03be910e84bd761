//! `mainstay golden URL MODEL --input FILE`: records a golden request from a server that is right.
//!
//! The server is asked twice: a model that does not answer the same question in the same way
//! twice, within the tolerance, has no golden answer.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use mainstay_config::EndpointUrl;
use mainstay_protocol::oip::answer;
use mainstay_protocol::oip::golden::{self, Tolerance};
use mainstay_protocol::oip::{JSON_LENGTH_HEADER, path};

use super::exchange::exchange;
use super::init::create;

/// Arguments of `mainstay golden`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  mainstay golden http://10.0.0.1:8000 fraud --input request.json \
    --output probes/fraud.json\n\nThen name the file in the configuration, under the pool:\n  \
    probe: {golden: probes/fraud.json}\n\nThe input is the body of an inference request, as \
    clients send it to /v2/models/NAME/infer."
)]
pub(crate) struct Args {
    /// A server that is known to answer rightly.
    url: EndpointUrl,
    /// The model's name there.
    model: String,
    /// The model's version there.
    #[arg(long)]
    model_version: Option<String>,
    /// A file with the request's body in JSON.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Write to this file, which must not exist yet, instead of standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// How far a floating-point value may lie from the recorded one.
    #[arg(long, value_name = "DISTANCE", default_value_t = 1e-4)]
    absolute: f64,
    /// The same, as a part of the recorded value.
    #[arg(long, value_name = "PART", default_value_t = 1e-4)]
    relative: f64,
    /// Seconds to wait for each answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    timeout: u16,
}

impl Args {
    /// Asks, asks again, and writes what was answered.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let request = std::fs::read(&self.input)
            .with_context(|| format!("cannot read {}", self.input.display()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let text = runtime.block_on(self.record(&Bytes::from(request)))?;
        match &self.output {
            None => print!("{text}"),
            Some(path) => {
                create(path, &text)?;
                eprintln!(
                    "wrote {}; name it under the pool: probe: {{golden: FILE}}",
                    path.display()
                );
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn record(&self, request: &Bytes) -> anyhow::Result<String> {
        let tolerance =
            Tolerance { absolute: self.absolute, relative: self.relative, ..Tolerance::default() };
        let first = self.ask(request).await?;
        let text = golden::render(&self.model, request, &first, tolerance)
            .context("no golden request can be made of it")?;
        let golden = golden::parse(text.as_bytes())?;
        if let Err(mismatch) = golden.compare(&self.ask(request).await?) {
            bail!("the same question got another answer the second time: {mismatch}");
        }
        Ok(text)
    }

    async fn ask(&self, request: &Bytes) -> anyhow::Result<answer::Response> {
        let version = self.model_version.as_deref();
        let request = Request::builder()
            .method(Method::POST)
            .uri(path::model_path(&self.url.prefix, &self.model, version, "infer"))
            .header(HOST, self.url.authority())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(request.clone()))?;
        let timeout = Duration::from_secs(self.timeout.max(1).into());
        read(&exchange(&self.url, timeout, request).await?)
    }
}

fn read(answer: &Response<Bytes>) -> anyhow::Result<answer::Response> {
    let (status, body) = (answer.status(), answer.body());
    if !status.is_success() {
        let said: String = String::from_utf8_lossy(body).chars().take(300).collect();
        bail!("the server answered {status}: {said}");
    }
    let json_len = answer.headers().get(JSON_LENGTH_HEADER);
    let json_len = json_len.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    answer::parse(body, json_len).context("the server's answer")
}

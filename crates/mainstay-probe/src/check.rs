//! One check: ask once, within a time, and say what was found.

pub(crate) mod call;
mod command;
pub(crate) mod golden;
mod grpc;
mod http;
pub(crate) mod redis;
mod rpc;

use std::sync::Arc;
use std::time::Duration;

use mainstay_config::{Check, EndpointUrl};
use mainstay_policy::health;
use mainstay_policy::role::Claim;
use mainstay_protocol::classify::Connecting;
use mainstay_tls::client::Speak;
use mainstay_tls::{Failure, Stream, Unopened};

pub(crate) use self::http::read_page;

/// Which model's readiness is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModelName {
    /// Its name upstream.
    pub name: Arc<str>,
    /// Its version upstream, where the chain pins one.
    pub version: Option<Arc<str>>,
}

/// What is asked, and where.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Where; a command needs none.
    pub address: Option<EndpointUrl>,
    /// `None` asks for the server's own readiness.
    pub model: Option<ModelName>,
    /// What.
    pub check: Check,
    /// The longest that it may take.
    pub timeout: Duration,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The result.
    pub check: health::Check,
    /// The same in a few words, for example `HTTP 503`.
    pub detail: String,
    /// Whether nobody was asked, since we lacked what it takes: it says nothing of the subject.
    pub unasked: bool,
    /// What a server with state says of its role, where that was asked.
    pub claim: Option<Claim>,
}

impl Found {
    pub(crate) fn new(check: health::Check, detail: impl Into<String>) -> Self {
        Self { check, detail: detail.into(), unasked: false, claim: None }
    }

    /// A server that cannot be trusted answers, and not as it should.
    fn unopened(error: &Unopened) -> Self {
        match error {
            Unopened::Io(error) => Self::unreachable(error),
            Unopened::Tls(Failure::Ended(_)) => {
                Self::new(health::Check::Refused, error.to_string())
            }
            Unopened::Tls(_) => Self::new(health::Check::Failed, error.to_string()),
        }
    }

    fn unreachable(error: &std::io::Error) -> Self {
        let unasked = Connecting::failed(error) == Connecting::Shortage;
        Self { unasked, ..Self::new(health::Check::Refused, error.to_string()) }
    }
}

/// Asks once. Never takes longer than the probe's timeout.
pub async fn probe(probe: &Probe) -> Found {
    if let Check::Command { argv } = &probe.check {
        // A command has its own way to end in time: its whole group is killed.
        return command::run(argv, probe.timeout).await;
    }
    tokio::time::timeout(probe.timeout, ask(probe)).await.unwrap_or_else(|_| {
        Found::new(health::Check::TimedOut, format!("no answer within {:?}", probe.timeout))
    })
}

async fn ask(probe: &Probe) -> Found {
    let Some(address) = &probe.address else {
        return Found::new(health::Check::Failed, "the check has no address");
    };
    match &probe.check {
        Check::OipReady => http::oip_ready(address, probe.model.as_ref()).await,
        Check::OipGrpcReady => grpc::ready(address, probe.model.as_ref()).await,
        Check::V1Ready => http::v1_ready(address, probe.model.as_ref()).await,
        Check::Ping => http::ping(address).await,
        Check::Http(check) => http::matches(address, check).await,
        Check::Tcp { port } => tcp(&at(address, *port)).await,
        Check::Grpc { service, port } => {
            grpc::health(&at(address, *port), service.as_deref()).await
        }
        Check::Redis { login, port } => redis::ask(&at(address, *port), login.as_ref()).await,
        Check::Command { .. } | Check::Off => Found::new(health::Check::Passed, "not asked"),
    }
}

async fn tcp(address: &EndpointUrl) -> Found {
    match connect(address, Speak::Http1).await {
        Ok(_) => Found::new(health::Check::Passed, "connected"),
        Err(error) => Found::unopened(&error),
    }
}

/// The address with the check's own port, where it has one.
fn at(address: &EndpointUrl, port: Option<u16>) -> EndpointUrl {
    let mut address = address.clone();
    address.port = port.unwrap_or(address.port);
    address
}

async fn connect(address: &EndpointUrl, speak: Speak) -> Result<Stream, Unopened> {
    Stream::open((&*address.host, address.port), address.tls.as_deref(), speak).await
}

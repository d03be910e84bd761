//! TCP listeners: any protocol, passed on to pools of layer 4.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mainstay_control::writer;

use super::{EndpointUrl, Login, Network};

/// An address at which any protocol over TCP is passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpListener {
    /// Its name; unique among the TCP listeners.
    pub name: Arc<str>,
    /// Where its clients connect.
    pub address: SocketAddr,
    /// Indices in [`Config::pools`](super::Config::pools), the best first; at least one.
    pub pools: Vec<usize>,
    /// To find an endpoint, over all attempts. Default 3 s: a failover takes about two, and few
    /// clients wait longer for a connection.
    pub connect_budget: Duration,
    /// Endpoints that are tried for one connection. Default 3.
    pub attempts: u8,
    /// A connection on which nothing moves for so long is closed. Default 1 h: pools of database
    /// connections idle for long.
    pub idle_timeout: Duration,
    /// Connections at once. Default 10 000.
    pub max_connections: u32,
    /// How long connections may go on at an endpoint that is on its way out. Default
    /// [`Config::drain`](super::Config::drain).
    pub drain: Duration,
    /// What becomes of connections to an endpoint that is lost. Default close: a client whose
    /// server is gone finds out at once.
    pub on_failover: OnFailover,
    /// The proxies whose headers are believed. Default none.
    pub trusted: Vec<Network>,
    /// Whether endpoints are told who the client is, by the PROXY protocol's version 2. Default
    /// false.
    pub sends_proxy: bool,
}

impl TcpListener {
    /// Whether a connection from there must begin with a header of the PROXY protocol.
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(peer))
    }
}

/// What becomes of connections to an endpoint that is lost, or whose place another one took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailover {
    /// They are closed at once.
    #[default]
    Close,
    /// They are left alone.
    Keep,
}

/// What is said of a pool of layer 4 alone.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct TcpRules {
    /// Whether what a client sent may be sent again to another endpoint, as long as nothing came
    /// back and all of it is still held. Default false.
    pub repeatable: bool,
    /// Who is its only writer; `None` where any may be written to. Default none.
    pub writer: Option<writer::Rule>,
    /// Whether only servers are used that say that they are replicas. Default false.
    pub replicas: bool,
    /// Who names the writer; `None` where servers are taken at their own word. Default none.
    pub sentinel: Option<Sentinel>,
}

/// The Sentinels of a set of Redis servers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sentinel {
    /// Where they are; at least one.
    pub addresses: Vec<EndpointUrl>,
    /// What they call the set.
    pub master: String,
    /// Whom to log in as there; `None` where nobody has to.
    pub login: Option<Login>,
}

/// Default of [`TcpListener::connect_budget`].
pub(crate) const CONNECT_BUDGET: Duration = Duration::from_secs(3);
/// Default of [`TcpListener::attempts`].
pub(crate) const TCP_ATTEMPTS: u8 = 3;
/// Default of [`TcpListener::idle_timeout`].
pub(crate) const TCP_IDLE_TIMEOUT: Duration = Duration::from_hours(1);
/// Default of [`TcpListener::max_connections`].
pub(crate) const MAX_CONNECTIONS: u32 = 10_000;

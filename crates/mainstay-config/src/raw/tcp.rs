//! TCP listeners as they are written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Opt;
use crate::spanned::Spanned;
use crate::value::Length;

/// An address at which any protocol over TCP is passed on, and the pools behind it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a TCP listener; write for example {listen: 127.0.0.1:6379, pool: cache}")]
#[schemars(rename = "TcpListener")]
pub(crate) struct RawTcpListener {
    /// Address and port for its clients.
    #[schemars(extend("examples" = ["127.0.0.1:6379"]))]
    pub(crate) listen: Opt<String>,
    /// The pool that its connections go to; its `protocol` is tcp.
    #[schemars(extend("examples" = ["cache"]))]
    pub(crate) pool: Opt<String>,
    /// Several pools instead, the best first: the next one is asked when nobody of those before
    /// can be.
    #[schemars(extend("examples" = [["cache", "cache-elsewhere"]], "x-comment" = true))]
    pub(crate) pools: Opt<Vec<Spanned<String>>>,
    /// To find an endpoint that accepts the connection, over all attempts; where nobody may be
    /// used at the moment, as between two primaries, the client is held so long.
    #[schemars(extend("default" = "3s"))]
    pub(crate) connect_budget: Opt<Length>,
    /// Endpoints that are tried for one connection.
    #[schemars(extend("default" = 3, "minimum" = 1, "maximum" = 6))]
    pub(crate) attempts: Opt<u8>,
    /// A connection on which nothing moves for so long, in either direction, is closed.
    #[schemars(extend("default" = "1h"))]
    pub(crate) idle_timeout: Opt<Length>,
    /// Connections at once; one more is closed.
    #[schemars(extend("default" = 10000, "minimum" = 1))]
    pub(crate) max_connections: Opt<u32>,
    /// How long connections may go on when their endpoint is drained or taken out of the pool, or
    /// the gateway stops. Default: the gateway's own `drain`.
    #[schemars(extend("examples" = ["30s"], "x-comment" = true))]
    pub(crate) drain: Opt<Length>,
    /// What becomes of connections to an endpoint that is lost, or whose place another one took:
    /// `close`, so that clients come back and are served elsewhere, or `keep`.
    #[schemars(extend("default" = "close"))]
    pub(crate) on_failover: Opt<RawOnFailover>,
    /// The PROXY protocol, by which proxies tell who the client is.
    pub(crate) proxy_protocol: Opt<RawProxyProtocol>,
}

/// What becomes of connections to an endpoint that is lost.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "OnFailover", inline)]
#[schemars(transform = crate::schema::plain_choice)]
pub(crate) enum RawOnFailover {
    /// They are closed at once.
    Close,
    /// They are left alone.
    Keep,
}

/// The PROXY protocol of HAProxy, version 2 and, where it is accepted, version 1.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a mapping; write for example {accept: [10.0.0.0/8], send: v2}")]
#[schemars(rename = "ProxyProtocol")]
pub(crate) struct RawProxyProtocol {
    /// The proxies that connections come through, as addresses and networks: from them each
    /// connection must begin with a header, and what it says of the client is believed. From
    /// everybody else a header is part of what is passed on.
    #[schemars(extend("examples" = [["10.0.0.0/8"]], "x-comment" = true))]
    pub(crate) accept: Opt<Vec<Spanned<String>>>,
    /// Tell endpoints who the client is; they must expect it. off or v2.
    #[schemars(extend("default" = "off"))]
    pub(crate) send: Opt<RawSend>,
}

/// Whether endpoints are told who the client is.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "SendProxyProtocol", inline)]
#[schemars(transform = crate::schema::plain_choice)]
pub(crate) enum RawSend {
    /// No.
    Off,
    /// By a header of version 2.
    V2,
}

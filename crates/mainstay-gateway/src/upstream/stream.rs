//! Opening connections to endpoints, TLS included where an endpoint has it.

use std::io;

use mainstay_policy::Class;
use mainstay_protocol::classify::Connecting;
use mainstay_tls::Stream;
use mainstay_tls::client::Speak;
use tokio::net::TcpStream;

use crate::snapshot::Upstream;

/// Why a connection did not open.
#[derive(Debug)]
pub(crate) enum Unopened {
    /// Not within its time.
    Late,
    /// What the system says.
    Failed(io::Error),
    /// No trust, or no agreement, in the handshake.
    Untrusted,
}

impl Unopened {
    /// Its class.
    pub(crate) fn class(&self) -> Class {
        match self {
            Self::Late => Class::Timeout,
            Self::Failed(error) => Connecting::failed(error).class(),
            Self::Untrusted => Class::Unreachable,
        }
    }
}

/// Opens a connection within the endpoint's time to connect, of which the handshake has its share.
/// A server that shows a wrong certificate is as good as none: nothing was sent to it.
pub(crate) async fn open(upstream: &Upstream, speak: Speak) -> Result<Stream, Unopened> {
    let opened = tokio::time::timeout(upstream.connect_timeout, connect(upstream, speak));
    opened.await.map_err(|_| Unopened::Late)?
}

async fn connect(upstream: &Upstream, speak: Speak) -> Result<Stream, Unopened> {
    let opened = TcpStream::connect((&*upstream.host, upstream.port)).await;
    let stream = opened.map_err(Unopened::Failed)?;
    stream.set_nodelay(true).map_err(Unopened::Failed)?;
    let Some(tls) = &upstream.tls else { return Ok(Stream::Plain(stream)) };
    let shaken = tls.client.connect(stream, &upstream.host, speak).await;
    tls.note(shaken.as_ref().err());
    shaken.map(|stream| Stream::Tls(Box::new(stream))).map_err(|_| Unopened::Untrusted)
}

//! Opening connections to endpoints, TLS included where an endpoint has it.

use mainstay_policy::Class;
use mainstay_tls::Stream;
use mainstay_tls::client::Speak;
use tokio::net::TcpStream;

use crate::snapshot::Upstream;

/// Opens a connection within the endpoint's time to connect, of which the handshake has its share.
/// A server that shows a wrong certificate is as good as none: nothing was sent to it.
pub(crate) async fn open(upstream: &Upstream, speak: Speak) -> Result<Stream, Class> {
    let opened = tokio::time::timeout(upstream.connect_timeout, connect(upstream, speak));
    opened.await.map_err(|_| Class::Timeout)?
}

async fn connect(upstream: &Upstream, speak: Speak) -> Result<Stream, Class> {
    let opened = TcpStream::connect((&*upstream.host, upstream.port)).await;
    let stream = opened.map_err(|_| Class::Unreachable)?;
    stream.set_nodelay(true).map_err(|_| Class::Unreachable)?;
    let Some(tls) = &upstream.tls else { return Ok(Stream::Plain(stream)) };
    let shaken = tls.client.connect(stream, &upstream.host, speak).await;
    tls.note(shaken.as_ref().err());
    shaken.map(|stream| Stream::Tls(Box::new(stream))).map_err(|_| Class::Unreachable)
}

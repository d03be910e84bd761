//! Whose connection it is: its peer's, or the client's whom a trusted proxy names.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mainstay_protocol::proxy_protocol;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::listener::{End, Listener};

/// A proxy sends its header at once; the specification asks receivers for at least 3 s of patience.
const HEADER_WITHIN: Duration = Duration::from_secs(3);

/// Room for one read: every header that proxies send, and the first words of most clients.
const READ: usize = 512;

/// The two ends of a client's connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) client: SocketAddr,
    /// Where the client connected to.
    pub(super) server: SocketAddr,
}

/// Whose connection it is, and what the client said behind the header.
pub(super) async fn of(
    stream: &mut TcpStream,
    listener: &Listener,
) -> Result<(Origin, Vec<u8>), End> {
    let (Ok(client), Ok(server)) = (stream.peer_addr(), stream.local_addr()) else {
        return Err(End::Reset);
    };
    let own = Origin { client, server };
    if !listener.settings.trusts(client.ip()) {
        return Ok((own, Vec::new()));
    }
    let read = tokio::time::timeout(HEADER_WITHIN, header(stream)).await;
    match read.unwrap_or_else(|late| Err(late.into())) {
        Ok((header, spoken)) => {
            let named = header.addresses.map(|(client, server)| Origin { client, server });
            Ok((named.unwrap_or(own), spoken))
        }
        Err(error) => {
            tracing::debug!(%error, proxy = %client, "a trusted proxy's connection has no header");
            Err(End::NoHeader)
        }
    }
}

async fn header(stream: &mut TcpStream) -> io::Result<(proxy_protocol::Header, Vec<u8>)> {
    let mut bytes = Vec::with_capacity(READ);
    loop {
        let broken = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        if let Some((header, length)) = proxy_protocol::read(&bytes).map_err(broken)? {
            bytes.drain(..length);
            return Ok((header, bytes));
        }
        bytes.reserve(READ);
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

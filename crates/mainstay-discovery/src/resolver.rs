//! One question to DNS servers, over UDP and, where an answer does not fit, over TCP.
//!
//! Each question has a socket of its own, so that its port is drawn anew by the system, and a
//! number from the system's generator: whoever wants to slip in a false answer has to guess both
//! (RFC 5452). The socket is connected: it takes datagrams from the server alone, and hears at
//! once where nobody listens.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use mainstay_protocol::dns::{self, Answer, Code, Kind, Name, UDP_SIZE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// For one question to one server. Resolvers near by answer in milliseconds, those that ask on in
/// some hundreds of them.
const PATIENCE: Duration = Duration::from_secs(1);
/// Times that every server is asked; a datagram may be lost.
const ROUNDS: usize = 2;

/// Asks one server after the other until one answers; the last trouble if none does.
pub(crate) async fn ask(servers: &[SocketAddr], name: &Name, kind: Kind) -> Result<Answer, String> {
    let mut trouble = "there is no DNS server to ask".to_owned();
    for server in servers.iter().cycle().take(servers.len() * ROUNDS) {
        let asked = tokio::time::timeout(PATIENCE, ask_one(*server, name, kind)).await;
        let what = match asked {
            Ok(Ok(Answer { code: Code::Failed(code), .. })) => failure(code),
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {PATIENCE:?}"),
        };
        trouble = format!("{} {name}: {server}: {what}", kind.as_str());
    }
    Err(trouble)
}

/// The server's own words (IANA, DNS response codes).
fn failure(code: u8) -> String {
    match code {
        1 => "it understood nothing (FORMERR)".to_owned(),
        2 => "it could not find out (SERVFAIL)".to_owned(),
        4 => "it does not do that (NOTIMP)".to_owned(),
        5 => "it will not say (REFUSED)".to_owned(),
        code => format!("it failed with code {code}"),
    }
}

async fn ask_one(server: SocketAddr, name: &Name, kind: Kind) -> io::Result<Answer> {
    let number = number()?;
    let question = dns::write_question(number, name, kind);
    let socket = UdpSocket::bind((unspecified(server), 0)).await?;
    socket.connect(server).await?;
    socket.send(&question).await?;
    let mut buffer = vec![0; usize::from(UDP_SIZE)];
    let answer = loop {
        let length = socket.recv(&mut buffer).await?;
        // Anything else may be a forgery, which must not keep the true answer out.
        if let Ok(answer) = dns::read_answer(&buffer[..length], number, name, kind) {
            break answer;
        }
    };
    if !answer.truncated {
        return Ok(answer);
    }
    let bytes = over_tcp(server, &question).await?;
    dns::read_answer(&bytes, number, name, kind).map_err(io::Error::other)
}

/// The whole answer, with its length before it (RFC 7766).
async fn over_tcp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    let framed = [&length.to_be_bytes(), question].concat();
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

fn number() -> io::Result<u16> {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(u16::from_be_bytes(bytes))
}

const fn unspecified(server: SocketAddr) -> IpAddr {
    match server {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

//! `PING` to a Redis server, and what it says of its role.

use std::io;

use mainstay_config::{EndpointUrl, Login};
use mainstay_policy::health::Check;
use mainstay_policy::role::Role;
use mainstay_protocol::redis::{self, Reply};
use mainstay_tls::client::Speak;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::{Found, connect};

/// Whether it answers, and as what.
pub(super) async fn ask(address: &EndpointUrl, login: Option<&Login>) -> Found {
    let mut stream = match connect(address, Speak::Http1).await {
        Ok(stream) => stream,
        Err(error) => return Found::unopened(&error),
    };
    match talk(&mut stream, login).await {
        Ok(found) => found,
        Err(error) => Found::new(Check::Failed, error.to_string()),
    }
}

async fn talk(
    stream: &mut (impl AsyncRead + AsyncWriteExt + Unpin),
    login: Option<&Login>,
) -> io::Result<Found> {
    let mut questions = Vec::new();
    if let Some(login) = login {
        let password = login.password.expose();
        match login.user.as_deref() {
            Some(user) => redis::write(&["AUTH", user, password], &mut questions),
            None => redis::write(&["AUTH", password], &mut questions),
        }
    }
    for question in [&["PING"][..], &["ROLE"], &["INFO", "replication"]] {
        redis::write(question, &mut questions);
    }
    stream.write_all(&questions).await?;
    let mut read = Vec::new();
    if login.is_some()
        && let Reply::Error(why) = answer(stream, &mut read).await?
    {
        return Ok(Found::new(Check::Failed, format!("AUTH: {why}")));
    }
    match answer(stream, &mut read).await? {
        Reply::Error(why) if why.starts_with("LOADING") => {
            return Ok(Found::new(Check::NotReady, why));
        }
        Reply::Error(why) => return Ok(Found::new(Check::Failed, why)),
        pong if pong.text() == Some("PONG") => {}
        _ => return Ok(Found::new(Check::Failed, "no PONG came to a PING")),
    }
    let role = answer(stream, &mut read).await?;
    let info = answer(stream, &mut read).await?;
    let claim = redis::claim(&role, Some(&info));
    let detail = match claim {
        Some(claim) if claim.role == Role::Primary => {
            format!("PONG, primary at offset {}", claim.offset)
        }
        Some(claim) => format!("PONG, replica at offset {}", claim.offset),
        None => "PONG, and no role".to_owned(),
    };
    Ok(Found { claim, ..Found::new(Check::Passed, detail) })
}

/// The next answer; `read` keeps what came beyond it.
pub(crate) async fn answer(
    stream: &mut (impl AsyncRead + Unpin),
    read: &mut Vec<u8>,
) -> io::Result<Reply> {
    loop {
        let broken = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        if let Some((reply, length)) = redis::read(read).map_err(broken)? {
            read.drain(..length);
            return Ok(reply);
        }
        if stream.read_buf(read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

//! Does to a connection what a behaviour says.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::answer::{self, Flaw};
use crate::language::{self, Prompt};
use crate::wire::{Kind, Request, head, reply};
use crate::{Behaviour, Rule};

mod stream;

/// What a wrong length is wrong by.
const WRONG_BY: usize = 32;

/// How it ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fate {
    /// Everything that should be written was.
    pub(crate) answered: bool,
    /// The connection goes on.
    pub(crate) goes_on: bool,
}

const ANSWERED: Fate = Fate { answered: true, goes_on: true };
const CUT: Fate = Fate { answered: false, goes_on: false };

/// Answers as the rule says, or well without one. An error is the client's end of the connection.
pub(crate) async fn perform(
    stream: &mut BufReader<TcpStream>,
    rule: &Rule,
    request: &Request,
) -> io::Result<Fate> {
    let prompt = Prompt::of(request);
    if let Some(prompt) = &prompt
        && (rule.behave == Behaviour::Ok || rule.behave.is_of_streams())
    {
        return stream::converse(stream, rule, prompt).await;
    }
    let (status, body) = match (&prompt, rule.behave) {
        (Some(_), Behaviour::Status(status)) => {
            (status, language::error(status, rule.code.as_deref()))
        }
        (Some(_), Behaviour::Empty | Behaviour::Malformed | Behaviour::NotReady) => {
            content(request, rule.behave)
        }
        (Some(prompt), _) => (200, prompt.answer()),
        (None, _) => content(request, rule.behave),
    };
    let half = body.len() / 2;
    match rule.behave {
        Behaviour::Refused | Behaviour::HangUp => return Ok(CUT),
        Behaviour::Reset => return reset(stream),
        Behaviour::ResetBody => {
            let text = head(status, body.len(), "") + &body[..half];
            write(stream, &text).await?;
            // Else the reset would overtake what was written.
            sleep(Duration::from_millis(5)).await;
            return reset(stream);
        }
        Behaviour::BlackHole => return Ok(silence(stream).await),
        Behaviour::SlowHeader => {
            dribble(stream, &head(status, body.len(), ""), rule.pause).await?;
            write(stream, &body).await?;
        }
        Behaviour::SlowDrip => {
            write(stream, &head(status, body.len(), "")).await?;
            dribble(stream, &body, rule.pause).await?;
        }
        Behaviour::LongLength => {
            write(stream, &(head(status, body.len() + WRONG_BY, "") + &body)).await?;
            return Ok(silence(stream).await);
        }
        Behaviour::ShortLength => {
            write(stream, &(head(status, body.len() - WRONG_BY, "") + &body)).await?;
        }
        Behaviour::Status(_) => {
            let after = rule.retry_after.map(|seconds| format!("retry-after: {seconds}\r\n"));
            reply(stream, status, &after.unwrap_or_default(), &body).await?;
        }
        _ if request.method == "HEAD" => write(stream, &head(status, body.len(), "")).await?,
        _ => reply(stream, status, "", &body).await?,
    }
    Ok(ANSWERED)
}

/// Status and body.
fn content(request: &Request, behave: Behaviour) -> (u16, String) {
    let model = request.model().unwrap_or("server");
    let good = |flaw| match request.kind() {
        Kind::Infer => (200, answer::inference(request, flaw)),
        Kind::Probe | Kind::Other => answer::other(request),
    };
    match behave {
        Behaviour::Status(status) => (status, answer::complaint(status, model)),
        // Triton's readiness has no body.
        Behaviour::NotReady if request.kind() == Kind::Probe => (400, String::new()),
        Behaviour::NotReady => (400, answer::not_ready(model)),
        Behaviour::Empty => (200, String::new()),
        Behaviour::Malformed => (200, "{\"outputs\": [oops}<html>".to_owned()),
        Behaviour::Truncated => {
            let (status, mut body) = good(Flaw::None);
            body.truncate(body.len() / 2);
            (status, body)
        }
        Behaviour::LowConfidence => good(Flaw::LowConfidence),
        Behaviour::Nan => good(Flaw::Nan),
        Behaviour::WrongAnswer => good(Flaw::Wrong),
        Behaviour::WrongShape => good(Flaw::Shape),
        _ => good(Flaw::None),
    }
}

async fn write(stream: &mut BufReader<TcpStream>, text: &str) -> io::Result<()> {
    stream.write_all(text.as_bytes()).await?;
    stream.flush().await
}

async fn dribble(stream: &mut BufReader<TcpStream>, text: &str, pause: Duration) -> io::Result<()> {
    for byte in text.as_bytes() {
        stream.write_all(&[*byte]).await?;
        stream.flush().await?;
        sleep(pause).await;
    }
    Ok(())
}

/// Waits until the client hangs up.
async fn silence(stream: &mut BufReader<TcpStream>) -> Fate {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    CUT
}

/// Closes with RST instead of FIN.
fn reset(stream: &BufReader<TcpStream>) -> io::Result<Fate> {
    stream.get_ref().set_zero_linger()?;
    Ok(CUT)
}

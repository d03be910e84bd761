//! Answers of the language model, streamed and cut as a script says.

use std::io;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::{ANSWERED, CUT, Fate, silence};
use crate::language::{self, Prompt};
use crate::wire::reply;
use crate::{Behaviour, Rule};

/// The status that an error inside an answer pretends not to be.
const INSIDE: u16 = 500;

/// Streams an answer, or answers as a whole where that was asked.
pub(super) async fn converse(
    stream: &mut BufReader<TcpStream>,
    rule: &Rule,
    prompt: &Prompt,
) -> io::Result<Fate> {
    if !prompt.stream {
        let body = match rule.behave {
            Behaviour::ErrorInside => language::error(INSIDE, rule.code.as_deref()),
            _ => prompt.answer(),
        };
        reply(stream, 200, "", &body).await?;
        return Ok(ANSWERED);
    }
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n\
                transfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    stream.flush().await?;
    speak(stream, rule, prompt).await
}

async fn speak(
    stream: &mut BufReader<TcpStream>,
    rule: &Rule,
    prompt: &Prompt,
) -> io::Result<Fate> {
    let whole = rule.behave == Behaviour::Ok || rule.behave == Behaviour::SlowTokens;
    let words = prompt.words();
    let most = if whole || rule.behave == Behaviour::NoDone {
        words.len()
    } else {
        usize::try_from(rule.events).unwrap_or(usize::MAX).min(words.len())
    };
    if rule.behave != Behaviour::ErrorInside || most > 0 {
        event(stream, &prompt.opening()).await?;
    }
    for word in &words[..most] {
        event(stream, word).await?;
        if rule.behave == Behaviour::SlowTokens {
            sleep(rule.pause).await;
        }
    }
    match rule.behave {
        Behaviour::Cut => return Ok(CUT),
        Behaviour::Stall => return Ok(silence(stream).await),
        Behaviour::KeepAlives => loop {
            event(stream, ": keep-alive\n\n").await?;
            sleep(rule.pause).await;
        },
        Behaviour::MalformedChunk => {
            event(stream, "data: {\"choices\": [oops\n\n").await?;
            event(stream, &prompt.closing()).await?;
        }
        Behaviour::ErrorInside => {
            let error = language::error(INSIDE, rule.code.as_deref());
            event(stream, &format!("data: {error}\n\n")).await?;
        }
        Behaviour::NoDone => {}
        _ => event(stream, &prompt.closing()).await?,
    }
    stream.write_all(b"0\r\n\r\n").await?;
    stream.flush().await?;
    Ok(ANSWERED)
}

/// Writes some text as one chunk.
async fn event(stream: &mut BufReader<TcpStream>, text: &str) -> io::Result<()> {
    let chunk = format!("{:x}\r\n{text}\r\n", text.len());
    stream.write_all(chunk.as_bytes()).await?;
    stream.flush().await
}

//! A client for the gateway's admin listener: one request on one connection, within a deadline.
//!
//! What goes wrong is told with a stable code and its remedy, since the one who reads it is an
//! operator in front of a gateway that may be in trouble.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::http::request::Builder;
use hyper::http::uri::Authority;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use mainstay_admin::{Code, Token};
use mainstay_tls::client::Speak;
use mainstay_tls::{Settings, Stream};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// From the connection to the end of the answer. The listener answers from memory.
const DEADLINE: Duration = Duration::from_secs(5);
/// The same where models are loaded or a process is started.
const LONG_DEADLINE: Duration = Duration::from_secs(125);
/// The largest answer that is read: a status of ten thousand targets.
const LARGEST: usize = 16 * 1024 * 1024;
/// The port of an address that names none.
const PORT: u16 = 9901;

/// Where the admin listener is; shared by the commands that ask it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AdminClient {
    /// Address of the gateway's admin listener.
    #[arg(
        long = "admin",
        env = "MAINSTAY_ADMIN",
        value_name = "ADDR",
        default_value = "127.0.0.1:9901"
    )]
    address: AdminAddress,
    /// PEM file of who vouches for the listener's certificate, where its address begins with
    /// https. Default: the authorities of the system.
    #[arg(long = "admin-ca", env = "MAINSTAY_ADMIN_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// File of the token that opens reading, where reading needs one: the viewers' or the
    /// operators'.
    #[arg(long = "admin-token", env = "MAINSTAY_ADMIN_TOKEN_FILE", value_name = "FILE")]
    reader: Option<PathBuf>,
}

/// A host and a port, and whether TLS is spoken there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AdminAddress {
    authority: String,
    secure: bool,
}

/// An answer, whatever it is.
struct Answer {
    status: StatusCode,
    body: Bytes,
}

/// What the listener says where it does not do what was asked.
#[derive(Debug, Deserialize)]
pub(crate) struct Refusal {
    error: String,
    code: String,
    /// Whether the gateway failed, and not the one who asked.
    #[serde(skip)]
    is_failure: bool,
}

impl From<AdminAddress> for AdminClient {
    fn from(address: AdminAddress) -> Self {
        Self { address, ca: None, reader: None }
    }
}

impl Refusal {
    /// Whether asking otherwise would have helped.
    pub(crate) const fn is_refused(&self) -> bool {
        !self.is_failure
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.error)
    }
}

impl std::error::Error for Refusal {}

impl AdminClient {
    /// Where it asks.
    pub(crate) fn address(&self) -> &str {
        &self.address.authority
    }

    /// Asks for `path` and reads the JSON that comes.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let mut head = Request::get(path);
        if let Some(file) = &self.reader {
            let token = Token::load(file)?;
            head = head.header(AUTHORIZATION, format!("Bearer {}", token.reveal()));
        }
        let answer = self.ask(head, Bytes::new()).await?;
        self.read(&answer)
    }

    /// Posts JSON to `path` as an operator and reads the JSON that comes.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        token: &Token,
        body: &serde_json::Value,
    ) -> anyhow::Result<T> {
        let head = Request::post(path).header(AUTHORIZATION, format!("Bearer {}", token.reveal()));
        let answer = self.ask(head, serde_json::to_vec(body)?.into()).await?;
        self.read(&answer)
    }

    /// Says as a server that it lives, and reads when to say so again.
    pub(crate) async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        token: &Token,
        body: &serde_json::Value,
    ) -> anyhow::Result<T> {
        let head = Request::put(path).header(AUTHORIZATION, format!("Bearer {}", token.reveal()));
        let answer = self.ask(head, serde_json::to_vec(body)?.into()).await?;
        self.read(&answer)
    }

    /// Takes away what is at `path`.
    pub(crate) async fn delete(&self, path: &str, token: &Token) -> anyhow::Result<()> {
        let head =
            Request::delete(path).header(AUTHORIZATION, format!("Bearer {}", token.reveal()));
        let answer = self.ask(head, Bytes::new()).await?;
        if answer.status.is_success() { Ok(()) } else { self.read(&answer) }
    }

    /// Asks for something that takes its time and may be refused; whether it was done, and the
    /// JSON that came.
    pub(crate) async fn order(
        &self,
        path: &str,
        token: &Token,
    ) -> anyhow::Result<(bool, serde_json::Value)> {
        let head = Request::post(path).header(AUTHORIZATION, format!("Bearer {}", token.reveal()));
        let answer = self.ask_within(LONG_DEADLINE, head, Bytes::new()).await?;
        let refused = [StatusCode::CONFLICT, StatusCode::UNPROCESSABLE_ENTITY];
        if refused.contains(&answer.status) {
            let body =
                serde_json::from_slice(&answer.body).with_context(|| self.strange(&answer))?;
            return Ok((false, body));
        }
        Ok((true, self.read(&answer)?))
    }

    async fn ask(&self, head: Builder, body: Bytes) -> anyhow::Result<Answer> {
        self.ask_within(DEADLINE, head, body).await
    }

    async fn ask_within(
        &self,
        limit: Duration,
        head: Builder,
        body: Bytes,
    ) -> anyhow::Result<Answer> {
        let request = head.header(HOST, self.address()).body(Full::new(body))?;
        let answer = tokio::time::timeout(limit, self.exchange(request)).await;
        let answer = answer.unwrap_or_else(|_| bail!("nothing came within {limit:?}"));
        answer.or_else(|error| {
            bail!(
                "{}: the admin listener at {} does not answer: {error:#}; does the gateway run? \
                 It prints its admin address when it starts: give it with --admin ADDR or in \
                 MAINSTAY_ADMIN",
                Code::Unreachable,
                self.address()
            )
        })
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
        let authority: Authority = self.address().parse()?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let port = authority.port_u16().unwrap_or(PORT);
        let tls = Settings { ca: self.ca.clone(), ..Settings::default() };
        let tls = self.address.secure.then_some(&tls);
        let stream = Stream::open((host, port), tls, Speak::Http1).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // The connection ends with its sender; what went wrong shows in the answer.
        tokio::spawn(connection);
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, LARGEST).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
        Ok(Answer { status: head.status, body })
    }

    fn read<T: DeserializeOwned>(&self, answer: &Answer) -> anyhow::Result<T> {
        if answer.status.is_success() {
            return serde_json::from_slice(&answer.body).with_context(|| self.strange(answer));
        }
        match serde_json::from_slice::<Refusal>(&answer.body) {
            Ok(refusal) => {
                let is_failure = answer.status.is_server_error();
                Err(Refusal { is_failure, ..refusal }.into())
            }
            Err(_) => bail!(self.strange(answer)),
        }
    }

    fn strange(&self, answer: &Answer) -> String {
        format!(
            "{}: what answers at {} (status {}) is no admin listener of this version; compare the \
             address with the one that the gateway printed when it started",
            Code::BadAnswer,
            self.address(),
            answer.status.as_u16()
        )
    }
}

impl FromStr for AdminAddress {
    type Err = anyhow::Error;

    /// Takes what the gateway prints, too: `http://127.0.0.1:9901`, or `https`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let secure = text.strip_prefix("https://");
        let text = secure.or_else(|| text.strip_prefix("http://")).unwrap_or(text);
        let secure = secure.is_some();
        let authority: Authority = text
            .trim_end_matches('/')
            .parse()
            .ok()
            .filter(|authority: &Authority| !authority.as_str().contains('@'))
            .context("an address is HOST:PORT, for example 127.0.0.1:9901")?;
        let port = authority.port_u16().unwrap_or(PORT);
        Ok(Self { authority: format!("{}:{port}", authority.host()), secure })
    }
}

/// The operators' token from its file.
pub(crate) fn token(path: &Path) -> anyhow::Result<Token> {
    Ok(Token::load(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<String> {
        text.parse::<AdminAddress>().ok().map(|address| address.authority)
    }

    #[test]
    fn an_address_is_taken_in_every_form_that_it_is_shown_in() {
        for (text, expected) in [
            ("127.0.0.1:7000", "127.0.0.1:7000"),
            ("http://127.0.0.1:7000", "127.0.0.1:7000"),
            ("http://127.0.0.1:7000/", "127.0.0.1:7000"),
            ("gw-a", "gw-a:9901"),
            ("https://gw-a", "gw-a:9901"),
            ("[::1]", "[::1]:9901"),
            ("[::1]:7000", "[::1]:7000"),
        ] {
            assert_eq!(address(text).as_deref(), Some(expected), "{text}");
        }
        for wrong in ["", "ftp://gw-a", "gw-a/status", "user@gw-a", "two words"] {
            assert_eq!(address(wrong), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn nobody_there_is_said_with_the_remedy() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let client = AdminClient::from(address.parse::<AdminAddress>().unwrap());
        let error = client.get::<serde_json::Value>("/api/status").await.unwrap_err();
        let message = format!("{error:#}");
        for part in ["MS0313", address.as_str(), "--admin", "MAINSTAY_ADMIN", "refused"] {
            assert!(message.contains(part), "{message}");
        }
    }
}

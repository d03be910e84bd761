//! The control listener: changes the script while the server serves, and shows its journal.
//!
//! | request | answer |
//! |---|---|
//! | `PUT /script` with a script | 200: it is played from now on; 400 says what is wrong |
//! | `GET /log?since=N` | the entries from number N on |
//! | `GET /counts` | sums: requests, behaviours, executions, duplicates |
//! | `GET /executions` | how often the model ran, by id |

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::json;
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::server::{Play, Shared};
use crate::wire::{Request, read, reply};
use crate::{Script, Server};

/// A listener beside a server; gone when dropped.
#[derive(Debug)]
pub struct Control {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Control {
    /// Listens there on behalf of the server.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn start(address: SocketAddr, server: &Server) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(serve(listener, server.shared()));
        Ok(Self { address, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(converse(BufReader::new(stream), Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(mut stream: BufReader<TcpStream>, shared: Arc<Shared>) -> io::Result<()> {
    loop {
        let request = read(&mut stream).await?;
        let (status, body) = answer(&request, &shared);
        reply(&mut stream, status, "", &body).await?;
        if request.closes() {
            return Ok(());
        }
    }
}

fn answer(request: &Request, shared: &Shared) -> (u16, String) {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    match (request.method.as_str(), path) {
        ("PUT", "/script") => play(request, shared),
        ("GET", "/log") => {
            let since = query.strip_prefix("since=").and_then(|number| number.parse().ok());
            (200, json!(shared.journal.since(since.unwrap_or_default())).to_string())
        }
        ("GET", "/counts") => (200, json!(shared.journal.counts()).to_string()),
        ("GET", "/executions") => (200, json!(shared.journal.executions()).to_string()),
        _ => (404, json!({"error": "PUT /script, GET /log, /counts or /executions"}).to_string()),
    }
}

fn play(request: &Request, shared: &Shared) -> (u16, String) {
    match String::from_utf8_lossy(&request.body).parse::<Script>() {
        Ok(script) => {
            shared.play.send_replace(Arc::new(Play::new(script)));
            (200, "{}".to_owned())
        }
        Err(error) => (400, json!({"error": error.to_string()}).to_string()),
    }
}

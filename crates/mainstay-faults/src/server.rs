//! The listener, its connections, and the script that is played.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::misbehave::perform;
use crate::wire::{self, Kind, Request};
use crate::{Behaviour, Error, Journal, Script};

mod play;

pub(crate) use play::Play;

/// Connections that the system keeps for us before they are accepted.
const BACKLOG: u32 = 1024;
/// The pause after the port could not be listened on again.
const LISTEN_AGAIN: Duration = Duration::from_millis(5);

/// A server that serves until it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) play: watch::Sender<Arc<Play>>,
    pub(crate) journal: Journal,
    draining: watch::Sender<bool>,
}

impl Server {
    /// Starts one on a free port of loopback.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn start(script: Script) -> Result<Self, Error> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), script, None).await
    }

    /// Starts one there, with its journal also in a file.
    ///
    /// # Errors
    /// The address cannot be listened on, or the file not opened.
    pub async fn start_at(
        address: SocketAddr,
        script: Script,
        journal: Option<&Path>,
    ) -> Result<Self, Error> {
        // Holds the port while the listener is closed, so that nobody else gets it.
        let holder = bound(address)?;
        let address = holder.local_addr()?;
        let listener = listen(address)?;
        let play = watch::Sender::new(Arc::new(Play::new(script)));
        let (journal, draining) = (Journal::open(journal)?, watch::Sender::new(false));
        let shared = Arc::new(Shared { play, journal, draining });
        let task = tokio::spawn(serve(holder, listener, Arc::clone(&shared)));
        Ok(Self { address, shared, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Plays another script from now on, its time and counts from the start. Requests under way
    /// end as they began.
    pub fn play(&self, script: Script) {
        self.shared.play.send_replace(Arc::new(Play::new(script)));
    }

    /// What it was asked.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.shared.journal
    }

    /// Ends as a well-behaved server does on SIGTERM: takes no more connections, closes the idle
    /// ones, and lets requests under way end, at most for this time.
    pub async fn drain(mut self, limit: Duration) {
        self.shared.draining.send_replace(true);
        let _ = timeout(limit, &mut self.task).await;
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    bound(address)?.listen(BACKLOG)
}

/// Accepts, and closes the listener while a rule says so.
async fn serve(holder: TcpSocket, listener: TcpListener, shared: Arc<Shared>) {
    let Ok(address) = holder.local_addr() else { return };
    let mut changes = shared.play.subscribe();
    let mut draining = shared.draining.subscribe();
    let mut listener = Some(listener);
    let (mut connections, mut accepted) = (JoinSet::new(), 0);
    loop {
        let (refuses, until) = changes.borrow_and_update().refusal();
        if refuses {
            listener = None;
            connections.shutdown().await;
        } else if listener.is_none() {
            listener = listen(address).ok();
        }
        // The listener cannot be had back: some connection still dies.
        let until = if refuses || listener.is_some() { until } else { Some(LISTEN_AGAIN) };
        tokio::select! {
            Some(stream) = accept(listener.as_ref()) => {
                connections.spawn(converse(stream, accepted, Arc::clone(&shared)));
                accepted += 1;
                while connections.try_join_next().is_some() {}
            }
            () = change(&mut changes, until) => {}
            _ = draining.wait_for(|drains| *drains) => break,
        }
    }
    drop((listener, holder));
    while connections.join_next().await.is_some() {}
}

/// A connection; never without a listener.
async fn accept(listener: Option<&TcpListener>) -> Option<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.ok().map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

/// Waits for another script, and at most so long.
async fn change(changes: &mut watch::Receiver<Arc<Play>>, until: Option<Duration>) {
    let timer = pin!(async {
        match until {
            Some(until) => sleep(until).await,
            None => std::future::pending().await,
        }
    });
    tokio::select! {
        _ = changes.changed() => {}
        () = timer => {}
    }
}

/// Answers one request after the other; an error is the client's end of the connection.
async fn converse(stream: TcpStream, number: u64, shared: Arc<Shared>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let mut draining = shared.draining.subscribe();
    loop {
        let request = tokio::select! {
            request = wire::read(&mut stream) => request?,
            _ = draining.wait_for(|drains| *drains) => return Ok(()),
        };
        if !answer(&mut stream, number, &request, &shared).await? || request.closes() {
            return Ok(());
        }
    }
}

/// Answers one; whether the connection goes on.
async fn answer(
    stream: &mut BufReader<TcpStream>,
    connection: u64,
    request: &Request,
    shared: &Shared,
) -> io::Result<bool> {
    let play = Arc::clone(&shared.play.borrow());
    let mut rule = play.choose(request);
    let mut entry = shared.journal.begin(request, connection, rule.behave);
    let worker = play.worker(request.kind()).await;
    if worker.is_full() {
        rule.behave = Behaviour::Status(503);
        "full".clone_into(&mut entry.behaviour);
    } else if request.kind() != Kind::Probe {
        play.run(&rule).await;
        if rule.executed.unwrap_or_else(|| rule.behave.executes()) {
            shared.journal.execute(&mut entry);
        }
    }
    drop(worker);
    let fate = perform(stream, &rule, request).await;
    shared.journal.end(entry, fate.as_ref().is_ok_and(|fate| fate.answered));
    fate.map(|fate| fate.goes_on)
}

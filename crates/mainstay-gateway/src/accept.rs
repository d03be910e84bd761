//! Accepting sockets and handing each to a worker.
//!
//! A worker is chosen for each socket, the least loaded one that shows life, instead of letting
//! the kernel spread them by SO_REUSEPORT: long-lived connections would otherwise pile up on one
//! core, and a stuck core would go on receiving its share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mainstay_telemetry::{Event, EventKind};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};

use crate::gateway::Leave;
use crate::shared::Shared;
use crate::tcp;

/// Connections that the kernel completes and keeps for us; Linux cuts it to somaxconn.
const BACKLOG: i32 = 4096;

/// Sockets on their way to one worker.
pub(crate) const HANDOVER: usize = 1024;

/// How long to wait after accepting failed, which mostly means that no file descriptor is left.
const PAUSE: Duration = Duration::from_millis(50);

/// A socket on its way to the worker that serves it.
pub(crate) struct Arrival {
    pub(crate) socket: std::net::TcpStream,
    pub(crate) via: Via,
}

/// The listener that a socket came by, as it is configured at this moment.
pub(crate) enum Via {
    Http,
    Tcp(Arc<tcp::Listener>),
}

impl Via {
    /// A socket that came by it is closed unserved.
    pub(crate) fn leave(&self) {
        if let Self::Tcp(listener) = self {
            listener.account.leave();
        }
    }
}

/// A listener that sockets come by.
pub(crate) enum Door {
    Http,
    /// By its name.
    Tcp(Arc<str>),
}

impl Door {
    /// What a socket that comes now is for; `None` if it is to be closed.
    fn open(&self, shared: &Shared) -> Option<Via> {
        match self {
            Self::Http => Some(Via::Http),
            Self::Tcp(name) => {
                let snapshot = shared.snapshot();
                let listener = Arc::clone(snapshot.tcp_listener(name)?);
                let most = listener.settings.max_connections;
                if !listener.account.admit(most) {
                    tracing::warn!(listener = %name, limit = most, "too many connections; one was closed");
                    return None;
                }
                Some(Via::Tcp(listener))
            }
        }
    }
}

/// Opens the client listener.
pub(crate) fn listen(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the connections of the one before to be forgotten.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepts until `stop`; then the listener is closed, and clients are refused at once.
pub(crate) async fn accept(
    (listener, door): (TcpListener, Door),
    shared: Arc<Shared>,
    workers: Vec<mpsc::Sender<Arrival>>,
    mut stop: watch::Receiver<Leave>,
) {
    let mut alive = vec![true; workers.len()];
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|leave| *leave != Leave::No) => return,
        };
        let stream = match accepted.and_then(|(stream, _)| stream.into_std()) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        watch_pulses(&shared, &mut alive);
        let most = u32::try_from(shared.snapshot().limits.connections).unwrap_or(u32::MAX);
        if let Some(via) = door.open(&shared) {
            hand_over(&shared, (&workers, &alive), most, Arrival { socket: stream, via });
        }
    }
}

/// Gives a socket to the least loaded worker that lives; beyond the limit it is closed.
fn hand_over(
    shared: &Shared,
    (workers, alive): (&[mpsc::Sender<Arrival>], &[bool]),
    most: u32,
    arrival: Arrival,
) {
    let load = |at: &usize| shared.pulses[*at].connections.load(Ordering::Relaxed);
    let total: u32 = (0..workers.len()).map(|at| load(&at)).sum();
    let any_alive = alive.contains(&true);
    let chosen = (0..workers.len()).filter(|at| alive[*at] || !any_alive).min_by_key(load);
    let Some(chosen) = chosen.filter(|_| total < most) else {
        tracing::warn!(limit = most, "too many client connections; one was closed");
        arrival.via.leave();
        return;
    };
    shared.pulses[chosen].connections.fetch_add(1, Ordering::Relaxed);
    if let Err(TrySendError::Full(unserved) | TrySendError::Closed(unserved)) =
        workers[chosen].try_send(arrival)
    {
        unserved.via.leave();
        shared.pulses[chosen].connections.fetch_sub(1, Ordering::Relaxed);
        tracing::warn!(worker = chosen, "a worker takes no more connections; one was closed");
    }
}

/// Notes which workers live, and tells when that changes.
fn watch_pulses(shared: &Shared, alive: &mut [bool]) {
    let now = shared.clock.now();
    for (at, was) in alive.iter_mut().enumerate() {
        let is = shared.pulses[at].is_alive(now);
        if is != *was {
            *was = is;
            let word = |alive: bool| if alive { "alive" } else { "stuck" }.to_owned();
            shared.telemetry.event(Event {
                kind: EventKind::Gateway,
                subject: format!("worker {at}"),
                from: word(!is),
                to: word(is),
                cause: "by its sign of life".to_owned(),
            });
        }
    }
}

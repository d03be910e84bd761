//! TLS handshakes with clients, bounded in time and in number.
//!
//! A handshake counts as the beginning of a head: the worker's sweep ends it with the time that a
//! head may take. So many are under way at once that their signatures together stall no request
//! for long; one more ends the oldest, which under a flood of half handshakes is one of those.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use mainstay_tls::{Server, ServerStream};
use tokio::net::TcpStream;

use super::{Client, State};
use crate::worker::Worker;

/// Handshakes of one worker at once. At a tenth of a millisecond for each one's signature they
/// take 25 ms if all come to it together.
const AT_ONCE: usize = 256;

/// The handshakes of one worker that are under way, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Handshakes(RefCell<BTreeMap<u64, Rc<Client>>>);

impl Handshakes {
    /// Counts one; the oldest gives way.
    fn enter(&self, key: u64, client: &Rc<Client>) {
        let mut open = self.0.borrow_mut();
        if open.len() >= AT_ONCE
            && let Some((_, oldest)) = open.pop_first()
        {
            oldest.ask(State::Aborted);
        }
        open.insert(key, Rc::clone(client));
    }

    fn leave(&self, key: u64) {
        self.0.borrow_mut().remove(&key);
    }
}

/// The client within TLS; `None` where there was no agreement, or no time.
pub(super) async fn shake(
    worker: &Rc<Worker>,
    (key, client): (u64, &Rc<Client>),
    server: &Server,
    stream: TcpStream,
) -> Option<ServerStream<TcpStream>> {
    client.in_head.set(true);
    client.since.set(worker.coarse_now.get());
    worker.clients.handshakes.enter(key, client);
    let mut shaking = pin!(server.accept(stream));
    let shaken = std::future::poll_fn(|cx| {
        client.watch(cx);
        if client.state.get() == State::Aborted {
            return Poll::Ready(None);
        }
        shaking.as_mut().poll(cx).map(Some)
    })
    .await;
    worker.clients.handshakes.leave(key);
    client.in_head.set(false);
    match shaken {
        Some(Ok(stream)) => Some(stream),
        Some(Err(failure)) => {
            tracing::debug!(%failure, "a TLS handshake with a client failed");
            None
        }
        None => {
            tracing::debug!("a TLS handshake with a client took too long, or gave way to others");
            None
        }
    }
}

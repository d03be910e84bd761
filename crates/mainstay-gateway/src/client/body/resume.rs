//! A stream that goes on at another server: while that is being asked, the client waits.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use mainstay_policy::Class;
use mainstay_telemetry::record::End;
use tokio::time::Instant;

use super::{Committed, Ending, OpenBody};
use crate::flight::Flight;
use crate::request::{Resumed, note_cut, resume};

type Asking = Pin<Box<dyn Future<Output = (Flight, Resumed)>>>;

/// Another server is being asked to go on.
pub(super) struct Resuming {
    asking: Asking,
    /// Why the first one did not.
    class: Class,
}

impl fmt::Debug for Resuming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resuming").field("class", &self.class).finish_non_exhaustive()
    }
}

impl OpenBody {
    /// Asks another server to go on; whether that can be tried.
    pub(super) fn try_elsewhere(&mut self, class: Class) -> bool {
        let Some(worker) = self.ending.as_ref().map(|it| it.flight.worker.clone()) else {
            return false;
        };
        let again = self.following.as_mut().and_then(|following| following.again(&worker));
        let Some((ask, ending)) = again.and_then(|ask| Some((ask, self.ending.take()?))) else {
            return false;
        };
        self.count_tokens(&ending);
        let Ending { trial, at, mut flight, .. } = ending;
        let lost = flight.record.attempts().get(at).map(|attempt| attempt.target);
        trial.finish(Err(class), worker.clock.now());
        note_cut(&mut flight, at, class, self.status);
        let asking = Box::pin(resume(flight, ask, lost));
        if let Some(following) = &mut self.following {
            following.resuming = Some(Resuming { asking, class });
        }
        true
    }

    /// Waits for the server that goes on.
    pub(super) fn poll_resuming(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(following) = &mut self.following else { return Poll::Ready(()) };
        let Some(resuming) = &mut following.resuming else { return Poll::Ready(()) };
        let (flight, resumed) = ready!(resuming.asking.as_mut().poll(cx));
        let class = resuming.class;
        following.resuming = None;
        match resumed {
            Resumed::Open(parts) => self.go_on(*parts, flight),
            Resumed::Whole { rest, label } => {
                let status = self.status;
                self.adopt();
                self.take_up(&label, [rest]);
                self.finished();
                flight.end(End::Answered, status);
            }
            Resumed::Nobody => {
                flight.end(End::Cut, self.status);
                self.tell_of_cut(class);
            }
        }
        Poll::Ready(())
    }

    /// From now on the stream comes from another server.
    fn go_on(&mut self, parts: Committed, flight: Flight) {
        let Committed { queue, rest, upstream, connection, mut trial, at, end, result, .. } = parts;
        trial.excuse();
        let label = Arc::clone(&upstream.label);
        if let Some(passage) = parts.following.map(|following| following.into_passage()) {
            self.renew(passage);
        }
        self.rest = rest;
        self.ending = Some(Ending { upstream, connection, trial, at, flight, end, result });
        self.take_up(&label, queue);
        let limit = self.following.as_ref().map_or(self.idle_timeout, |it| it.limit());
        self.idle.as_mut().reset(Instant::now() + limit);
    }

    /// Queues what another server said, under the first one's identity.
    fn take_up(&mut self, label: &str, parts: impl IntoIterator<Item = Bytes>) {
        // A comment: no client sees it but one that looks.
        self.queue.push_back(format!(": continued by {label}\n\n").into());
        for part in parts {
            self.queue_events(part);
        }
    }
}

//! Clerks: the futures that answer requests, each used for one request after another.
//!
//! Such a future has room for every state that the way of a request can come to, some kilobytes.
//! Made anew for each request it would be allocated, written to the stack and copied from there,
//! all in memory that has left the caches since it was used last. So a worker keeps those that
//! have nothing to do, and the next request gets the one that was used last. A request that is
//! cancelled drops its clerk, and with it all that was under way.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::fmt;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, Version};
use hyper::body::Incoming;

use super::{AnswerBody, Busy};
use crate::request;
use crate::worker::Worker;

/// The most that a worker keeps idle: half a megabyte.
const KEPT: usize = 64;

/// The idle clerks of one worker.
#[derive(Default)]
pub(crate) struct Clerks(RefCell<Vec<Clerk>>);

impl Clerks {
    fn take(&self) -> Clerk {
        self.0.borrow_mut().pop().unwrap_or_else(Clerk::new)
    }

    fn put(&self, clerk: Clerk) {
        let mut idle = self.0.borrow_mut();
        if idle.len() < KEPT {
            idle.push(clerk);
        }
    }
}

impl fmt::Debug for Clerks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clerks").field("idle", &self.0.borrow().len()).finish()
    }
}

/// Answers one request after another, as they are laid on its desk.
struct Clerk {
    desk: Rc<Desk>,
    work: Pin<Box<dyn Future<Output = Infallible>>>,
}

/// Between a clerk and whoever polls it.
#[derive(Default)]
struct Desk {
    asked: Cell<Option<Asked>>,
    answered: Cell<Option<Response<AnswerBody>>>,
}

struct Asked {
    worker: Rc<Worker>,
    message: Request<Incoming>,
    trusted: bool,
}

impl Clerk {
    fn new() -> Self {
        let desk = Rc::new(Desk::default());
        Self { work: Box::pin(work(Rc::clone(&desk))), desk }
    }
}

async fn work(desk: Rc<Desk>) -> Infallible {
    loop {
        let asked = std::future::poll_fn(|_| desk.asked.take().map_or(Poll::Pending, Poll::Ready));
        let Asked { worker, message, trusted } = asked.await;
        let response = pin!(request::answer(worker, message, trusted)).await;
        desk.answered.set(Some(response));
    }
}

/// A request with the clerk that answers it.
pub(super) struct Answering {
    worker: Rc<Worker>,
    /// Until it has answered.
    clerk: Option<Clerk>,
    /// Until the answer has it.
    busy: Option<Busy>,
    is_http2: bool,
}

impl Answering {
    /// Has `message` answered; `trusted` as [`request::answer`] wants it.
    pub(super) fn new(
        worker: &Rc<Worker>,
        message: Request<Incoming>,
        trusted: bool,
        busy: Busy,
    ) -> Self {
        let is_http2 = message.version() == Version::HTTP_2;
        let clerk = worker.clerks.take();
        clerk.desk.asked.set(Some(Asked { worker: Rc::clone(worker), message, trusted }));
        Self { worker: Rc::clone(worker), clerk: Some(clerk), busy: Some(busy), is_http2 }
    }
}

impl Future for Answering {
    type Output = Result<Response<AnswerBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(clerk) = &mut self.clerk else { return Poll::Pending };
        let Poll::Pending = clerk.work.as_mut().poll(cx);
        let Some(mut response) = clerk.desk.answered.take() else { return Poll::Pending };
        if let Some(clerk) = self.clerk.take() {
            self.worker.clerks.put(clerk);
        }
        if let Some(busy) = self.busy.take() {
            response.body_mut().keep(busy);
        }
        if self.is_http2 {
            response = response.map(AnswerBody::piped);
        } else if self.worker.parting.get() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(Ok(response))
    }
}

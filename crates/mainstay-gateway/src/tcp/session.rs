//! One connection, from its first byte to its end.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mainstay_policy::target::Target;
use mainstay_policy::{Class, Moment, SentState, Standing};
use mainstay_protocol::proxy_protocol;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use super::listener::{End, Listener};
use super::origin::{self, Origin};
use super::relay::{Ended, Ways, relay, reset};
use super::seek::{Fence, Reached, Seek};
use super::sessions::Entered;
use super::visit::Visit;
use crate::worker::Worker;

/// A peer that says nothing for so long is asked whether it still lives: one that was cut off
/// would otherwise hold its connection until the idle limit.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A connection that has lived so long was not refused, whoever is to speak first.
pub(super) const SETTLED: Duration = Duration::from_secs(1);

/// One connection, as the worker's sweep sees it.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) listener: Arc<Listener>,
    /// When anything last moved.
    pub(super) last: Cell<Moment>,
    /// The endpoint that it is with.
    pub(super) tied: RefCell<Option<Tied>>,
    /// Since when it is to end by and by.
    pub(super) leaving: Cell<Option<Moment>>,
    now: Cell<Moment>,
    bytes: Cell<[u64; 2]>,
    /// What of them was counted.
    counted: Cell<[u64; 2]>,
    order: Cell<Option<End>>,
    waker: RefCell<Option<Waker>>,
}

/// The endpoint of a connection.
#[derive(Debug)]
pub(super) struct Tied {
    pub(super) target: Arc<Target>,
    pub(super) since: Moment,
    /// Whether the endpoint has been in use since: one that was, and is a spare now, lost its post.
    pub(super) was_active: bool,
    /// What ends it with its writer's epoch.
    fence: Option<Fence>,
    visit: Visit,
}

impl Session {
    pub(super) fn new(listener: Arc<Listener>, now: Moment) -> Self {
        Self {
            listener,
            last: Cell::new(now),
            tied: RefCell::default(),
            leaving: Cell::new(None),
            now: Cell::new(now),
            bytes: Cell::default(),
            counted: Cell::default(),
            order: Cell::new(None),
            waker: RefCell::default(),
        }
    }

    /// Ends it like this, at once.
    pub(super) fn order(&self, end: End) {
        if self.order.get().is_none() {
            self.order.set(Some(end));
            if let Some(waker) = &*self.waker.borrow() {
                waker.wake_by_ref();
            }
        }
    }

    /// How it is to end, if it is; otherwise the calling task is woken when that changes.
    pub(super) fn ordered(&self, cx: &Context<'_>) -> Option<End> {
        let order = self.order.get().or_else(|| self.is_fenced().then_some(End::Failover));
        if order.is_none() {
            let mut known = self.waker.borrow_mut();
            if !known.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                *known = Some(cx.waker().clone());
            }
        }
        order
    }

    /// Whether the writer that it is with is the writer no more.
    pub(super) fn is_fenced(&self) -> bool {
        let tied = self.tied.borrow();
        tied.as_ref().and_then(|tied| tied.fence.as_ref()).is_some_and(Fence::is_down)
    }

    /// So many bytes have been passed on, from the client and to it. The first that comes back
    /// shows that its endpoint is well.
    pub(super) fn moved(&self, bytes: [u64; 2]) {
        let first = self.bytes.get()[1] == 0 && bytes[1] > 0;
        self.bytes.set(bytes);
        self.last.set(self.now.get());
        if first {
            self.went_well(self.now.get());
        }
    }

    /// Notes the time, and that its endpoint is well if it has lived for a while.
    pub(super) fn tick(&self, now: Moment) {
        self.now.set(now);
        let settled = self.tied.borrow().as_ref().is_some_and(|it| now.since(it.since) > SETTLED);
        if settled {
            self.went_well(now);
        }
        self.count();
    }

    /// Whether its endpoint has kept it for a while.
    pub(super) fn is_settled(&self) -> bool {
        let now = self.now.get();
        self.tied.borrow().as_ref().is_some_and(|tied| now.since(tied.since) > SETTLED)
    }

    fn went_well(&self, now: Moment) {
        if let Some(tied) = &mut *self.tied.borrow_mut() {
            tied.visit.went_well(now);
        }
    }

    /// Counts the bytes that have moved since the last time.
    pub(super) fn count(&self) {
        let (bytes, counted) = (self.bytes.get(), self.counted.replace(self.bytes.get()));
        self.listener.account.moved([0, 1].map(|way| bytes[way].saturating_sub(counted[way])));
    }

    fn tie(&self, (visit, fence): (Visit, Option<Fence>), now: Moment) {
        let target = Arc::clone(visit.target());
        let was_active = target.place.standing() == Standing::Active;
        self.now.set(now);
        *self.tied.borrow_mut() = Some(Tied { target, since: now, was_active, fence, visit });
    }

    fn untie(&self) -> Option<Visit> {
        self.tied.borrow_mut().take().map(|tied| tied.visit)
    }

    /// What `work` gives, unless the gateway ends the connection before.
    async fn unless_ordered<T>(&self, work: impl Future<Output = T>) -> Result<T, End> {
        let mut work = pin!(work);
        std::future::poll_fn(|cx| match self.ordered(cx) {
            Some(end) => Poll::Ready(Err(end)),
            None => work.as_mut().poll(cx).map(Ok),
        })
        .await
    }
}

/// Serves one connection until it ends.
pub(crate) async fn serve(worker: Rc<Worker>, mut client: TcpStream, entered: Entered) {
    let session = Rc::clone(&entered.session);
    let end = carry(&worker, &session, &mut client).await;
    if end != End::Done {
        reset(&client);
    }
    session.count();
    session.listener.account.ended(end);
}

async fn carry(worker: &Rc<Worker>, session: &Session, client: &mut TcpStream) -> End {
    if let Err(error) = prepare(client) {
        tracing::debug!(%error, "a client left before it was served");
        return End::Reset;
    }
    let mut ways = Ways::default();
    let origin = match session.unless_ordered(origin::of(client, &session.listener)).await {
        Ok(Ok((origin, spoken))) => {
            ways.begin_with(spoken);
            origin
        }
        Ok(Err(end)) | Err(end) => return end,
    };
    let mut seek = Seek::new(worker, &session.listener, Some(origin.client.ip()));
    loop {
        let Reached { mut stream, visit, choice, fence, repeatable, member } =
            match session.unless_ordered(seek.next()).await {
                Ok(Some(reached)) => reached,
                Ok(None) => return End::NoEndpoint,
                Err(end) => return end,
            };
        session.tie((visit, fence), worker.clock.now());
        if let Err(error) = introduce(&stream, session, &origin) {
            tracing::debug!(%error, endpoint = %member.upstream.label, "an endpoint left at once");
            reset(&stream);
            if let Some(visit) = session.untie() {
                visit.failed(Class::Unreachable, worker.clock.now());
            }
            seek.failed(choice.as_ref(), Class::Unreachable, SentState::NotSent);
            continue;
        }
        if repeatable {
            ways.hold();
        }
        let ended = relay(worker.sessions.desk(), session, (client, &mut stream), &mut ways).await;
        let now = worker.clock.now();
        let visit = session.untie();
        match ended {
            Ended::Done => return End::Done,
            Ended::ByClient => {
                reset(&stream);
                return End::Reset;
            }
            Ended::Ordered(end) => {
                reset(&stream);
                return end;
            }
            Ended::ByServer => {
                if let Some(visit) = visit {
                    visit.failed(Class::Unreachable, now);
                }
                if !ways.is_whole(repeatable) {
                    return End::Reset;
                }
                let sent = if ways.has_sent() { SentState::MaybeSent } else { SentState::NotSent };
                seek.failed(choice.as_ref(), Class::Unreachable, sent);
                ways.rewind();
            }
        }
    }
}

/// Prepares a new connection to an endpoint, which is told whose it is where it is to be.
fn introduce(stream: &TcpStream, session: &Session, origin: &Origin) -> std::io::Result<()> {
    prepare(stream)?;
    if !session.listener.settings.sends_proxy {
        return Ok(());
    }
    let header = proxy_protocol::write(origin.client, origin.server);
    // A new connection has room for far more.
    let written = stream.try_write(&header)?;
    if written == header.len() { Ok(()) } else { Err(std::io::ErrorKind::WriteZero.into()) }
}

/// Small messages leave at once, and a peer that was cut off is found out.
fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))
}

//! One worker: a thread, a runtime, and everything that only this thread touches.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::HeaderValue;
use mainstay_policy::Moment;
use mainstay_policy::balance::Candidate;
use mainstay_policy::chain::{Choice, Climb, Context, Next};
use mainstay_telemetry::{Clock, RequestId};
use tokio::net::TcpStream;
use tokio::runtime::{LocalOptions, LocalRuntime};
use tokio::sync::{mpsc, watch};

use crate::accept::{Arrival, Via};
use crate::client;
use crate::gateway::Leave;
use crate::shared::Shared;
use crate::snapshot::View;
use crate::tcp;
use crate::timeouts::{self, Timeouts};
use crate::upstream::Connections;

/// How often a worker looks after its connections and gives a sign of life.
const TICK: Duration = Duration::from_millis(250);

/// How long a connection that idles stays open after another process took over. Clients that ask
/// more seldom than this see it closed, as they do at any time.
const LINGER: Duration = Duration::from_secs(10);

/// What only one thread touches.
#[derive(Debug)]
pub(crate) struct Worker {
    /// Its number: the shard of windows and metrics that it writes.
    pub(crate) index: usize,
    pub(crate) clock: Clock,
    pub(crate) shared: Arc<Shared>,
    pub(crate) telemetry: mainstay_telemetry::Worker,
    pub(crate) connections: Connections,
    /// Client connections, to be closed when they idle for too long and when the gateway drains.
    pub(crate) clients: client::Clients,
    /// Connections of layer 4.
    pub(crate) sessions: tcp::Sessions,
    /// Futures of requests, to be used again.
    pub(crate) clerks: client::Clerks,
    /// Waits that have a limit.
    pub(crate) timeouts: Timeouts,
    /// Requests whose record is still open.
    pub(crate) in_flight: Cell<usize>,
    /// The time of the last tick: good enough for limits of seconds.
    pub(crate) coarse_now: Cell<Moment>,
    /// The last time limit that was sent on, as it was written.
    timeout_value: RefCell<(u64, HeaderValue)>,
    rng: RefCell<fastrand::Rng>,
    candidates: RefCell<Vec<Candidate>>,
    turn: Cell<u32>,
    /// The number of the snapshot that `view` shows.
    generation: Cell<u64>,
    /// Whether no connection comes any more.
    stopping: Cell<bool>,
    /// Whether callers must be known, in the snapshot that `view` shows.
    guarded: Cell<bool>,
    /// Whether pages of other sites may ask, in the snapshot that `view` shows.
    crossed: Cell<bool>,
    /// Whether each answer is the last on its connection: another process serves from now on.
    pub(crate) parting: Cell<bool>,
    view: RefCell<View>,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, index: usize, seed: u64) -> Rc<Self> {
        let clock = shared.clock;
        let generation = shared.generation();
        let snapshot = shared.snapshot();
        let worker = Rc::new(Self {
            index,
            clock,
            telemetry: shared.telemetry.worker(index),
            connections: Connections::default(),
            clients: client::Clients::default(),
            sessions: tcp::Sessions::default(),
            clerks: client::Clerks::default(),
            timeouts: Timeouts::default(),
            in_flight: Cell::new(0),
            coarse_now: Cell::new(clock.now()),
            timeout_value: RefCell::new((0, HeaderValue::from_static("0ms"))),
            rng: RefCell::new(fastrand::Rng::with_seed(seed)),
            candidates: RefCell::default(),
            turn: Cell::new(0),
            generation: Cell::new(generation),
            stopping: Cell::new(false),
            guarded: Cell::new(snapshot.callers.is_some()),
            crossed: Cell::new(snapshot.config.listen.cors.is_some()),
            parting: Cell::new(false),
            view: RefCell::new(View::new(snapshot)),
            shared,
        });
        worker.connections.keep(&worker.view().upstreams);
        worker
    }

    /// What holds now, for a request to keep until its end.
    #[inline]
    pub(crate) fn view(&self) -> View {
        if self.generation.get() != self.shared.generation() {
            self.renew();
        }
        self.view.borrow().clone()
    }

    /// Whether callers must be known.
    #[inline]
    pub(crate) fn is_guarded(&self) -> bool {
        if self.generation.get() != self.shared.generation() {
            self.renew();
        }
        self.guarded.get()
    }

    /// Whether pages of other sites may ask, as far as the last request knew.
    #[inline]
    pub(crate) const fn is_crossed(&self) -> bool {
        self.crossed.get()
    }

    #[cold]
    fn renew(&self) {
        // Read before the snapshot: what comes in between is seen the next time.
        self.generation.set(self.shared.generation());
        let view = View::new(self.shared.snapshot());
        self.connections.keep(&view.upstreams);
        self.guarded.set(view.callers.is_some());
        self.crossed.set(view.config.listen.cors.is_some());
        *self.view.borrow_mut() = view;
    }

    /// A place at a target has become free.
    pub(crate) fn freed(&self, target: u32, now: Moment) {
        self.view.borrow().gates.freed(target, now);
    }

    /// What the climb does next.
    pub(crate) fn decide(&self, climb: &mut Climb<'_>, now: Moment) -> Next {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        climb.next(&mut Context {
            now,
            rng: &mut self.rng.borrow_mut(),
            turn,
            shard: self.index,
            retries: &self.view().retries,
            candidates: &mut self.candidates.borrow_mut(),
        })
    }

    /// A second attempt beside `first`, which is late, if there may be one.
    pub(crate) fn hedge(
        &self,
        climb: &mut Climb<'_>,
        first: &Choice,
        now: Moment,
    ) -> Option<Choice> {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let cx = &mut Context {
            now,
            rng: &mut self.rng.borrow_mut(),
            turn,
            shard: self.index,
            retries: &self.view().retries,
            candidates: &mut self.candidates.borrow_mut(),
        };
        climb.hedge(first, cx)
    }

    /// A time limit as a header's value, in whole milliseconds. Most requests have the same one,
    /// so the last is kept.
    pub(crate) fn timeout_value(&self, millis: u64) -> HeaderValue {
        let mut last = self.timeout_value.borrow_mut();
        if last.0 != millis {
            let text = HeaderValue::from_str(&format!("{millis}ms"));
            // Digits and letters are always a valid value.
            *last = (millis, text.unwrap_or_else(|_| HeaderValue::from_static("0ms")));
        }
        last.1.clone()
    }

    /// Runs `draw` with this worker's source of chance.
    pub(crate) fn with_rng<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.rng.borrow_mut())
    }

    /// An identity for a request that begins.
    pub(crate) fn next_id(&self) -> RequestId {
        RequestId(self.with_rng(|rng| rng.u64(..)))
    }

    /// Serves the sockets that come until `stop` says that the gateway drains, then finishes
    /// what is in flight.
    pub(crate) async fn run(
        self: Rc<Self>,
        mut sockets: mpsc::Receiver<Arrival>,
        mut stop: watch::Receiver<Leave>,
    ) {
        let patient = Rc::clone(&self);
        tokio::task::spawn_local(async move { timeouts::run(&patient).await });
        let mut nudges = self.shared.claims.nudges();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = tick.tick() => self.tend(),
                Ok(()) = nudges.changed() => self.tend(),
                socket = sockets.recv() => match socket {
                    Some(socket) => self.welcome(socket),
                    None => break,
                },
                _ = stop.wait_for(|leave| *leave != Leave::No) => break,
            }
        }
        // What was handed over and not yet picked up still gets its answer; the channel closes
        // when the acceptor has ended.
        while let Some(socket) = sockets.recv().await {
            self.welcome(socket);
        }
        if *stop.borrow() == Leave::HandOver {
            self.part(&mut tick).await;
        }
        self.stopping.set(true);
        self.clients.close_idle();
        while !self.clients.is_empty() || !self.sessions.is_empty() {
            tick.tick().await;
            self.tend();
            self.clients.close_idle();
        }
    }

    /// Lets clients come to their next answer, which tells them to connect anew: a connection
    /// that is closed while a request is on its way to it would lose that request.
    async fn part(&self, tick: &mut tokio::time::Interval) {
        self.parting.set(true);
        self.clients.close_multiplexed();
        let until = self.clock.now() + LINGER;
        while !self.clients.is_empty() && self.clock.now() < until {
            tick.tick().await;
            self.tend();
        }
    }

    fn welcome(self: &Rc<Self>, Arrival { socket, via }: Arrival) {
        let pulse = &self.shared.pulses[self.index];
        match (TcpStream::from_std(socket), via) {
            (Ok(stream), Via::Http) => {
                let client = self.clients.enter(self);
                tokio::task::spawn_local(client::serve(Rc::clone(self), stream, client));
            }
            (Ok(stream), Via::Tcp(listener)) => {
                let session = self.sessions.enter(self, listener);
                tokio::task::spawn_local(tcp::serve(Rc::clone(self), stream, session));
            }
            (Err(error), via) => {
                via.leave();
                pulse.connections.fetch_sub(1, Ordering::Relaxed);
                tracing::warn!(%error, "an accepted connection could not be used");
            }
        }
    }

    /// Gives a sign of life and closes what idles for too long.
    fn tend(&self) {
        let now = self.clock.now();
        self.coarse_now.set(now);
        self.shared.pulses[self.index].beat(now);
        let view = self.view();
        self.clients.sweep(&view.limits, now);
        self.sessions.sweep(&view, (now, self.stopping.get()));
        self.connections.sweep(now);
    }
}

/// The runtime of one worker, for the thread that calls. Its tasks never leave that thread, which
/// spares each wake-up an atomic queue.
pub(crate) fn runtime() -> std::io::Result<LocalRuntime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build_local(LocalOptions::default())
}

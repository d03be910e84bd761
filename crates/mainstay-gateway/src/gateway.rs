//! A gateway from start to drain.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mainstay_admin::Admin;
use mainstay_config::{Check, Config};
use mainstay_policy::Verdict;
use mainstay_telemetry::{Clock, Event, EventKind};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::accept::{self, Arrival, Door, HANDOVER};
use crate::aftermath;
use crate::build::{self, Watched};
use crate::discovered::Sources;
use crate::embedded::LOOK_EVERY;
use crate::error::Error;
use crate::groups::Groups;
use crate::handover::{Inherited, Successor};
use crate::lifecycle::Lifecycle;
use crate::locality;
use crate::observe::{self, Board};
use crate::orders::Orders;
use crate::outliers::Outliers;
use crate::overload;
use crate::processes::Processes;
use crate::reconfigure::Reconfigure;
use crate::request::sweep_sequences;
use crate::service;
use crate::shared::Shared;
use crate::source::State;
use crate::tcp;
use crate::tls;
use crate::worker::{self, Worker};

/// How long the listener stays open after the gateway stopped being ready, so that whoever
/// balances over gateways sees it before clients are refused.
const GRACE: Duration = Duration::from_millis(250);

/// The longest that a process which takes over waits until every server was probed once.
const KNOWN_WITHIN: Duration = Duration::from_secs(10);

/// A gateway whose listeners are open and which does not serve yet.
pub struct Gateway {
    config: Arc<Config>,
    shared: Arc<Shared>,
    board: Arc<Board>,
    outliers: Arc<Outliers>,
    groups: Arc<Groups>,
    reconfigure: Reconfigure,
    sources: Sources,
    orders: Arc<Orders>,
    processes: Processes,
    lifecycle: Lifecycle,
    inherited: Inherited,
    listener: std::net::TcpListener,
    /// A further one for clients.
    grpc: Option<std::net::TcpListener>,
    /// With the names of the TCP listeners that they belong to.
    tcp: Vec<(Arc<str>, std::net::TcpListener)>,
    admin: Admin,
    stop: watch::Sender<Leave>,
    seed: u64,
}

/// Where a gateway comes from.
#[derive(Debug, Default)]
pub struct Origin {
    /// The file of its configuration, to be read again.
    pub file: Option<PathBuf>,
    /// Sockets that it was given.
    pub inherited: Inherited,
}

/// Whether to go on, and how to leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Leave {
    /// Serve.
    #[default]
    No,
    /// Finish what is in flight; idle connections are closed.
    Drain,
    /// Another process serves in this one's place: finish what is in flight, and let clients come
    /// to their next answer before their connection is closed.
    HandOver,
}

/// Where a gateway can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The client listener.
    pub http: SocketAddr,
    /// The further client listener, where there is one.
    pub grpc: Option<SocketAddr>,
    /// The admin listener.
    pub admin: SocketAddr,
    /// The TCP listeners, by name.
    pub tcp: Vec<(Arc<str>, SocketAddr)>,
}

impl Gateway {
    /// Builds a gateway: loads the embedded models and opens the listeners.
    ///
    /// Must be called on the runtime that will [run](Self::run) it: the control runtime, which
    /// carries everything but the way of requests.
    ///
    /// # Errors
    /// A listener's address cannot be had, or an embedded model is missing that must not be.
    pub async fn build(
        config: Config,
        clock: Clock,
        seed: u64,
        origin: Origin,
    ) -> Result<Self, Error> {
        let Origin { file, mut inherited } = origin;
        let config = Arc::new(config);
        let shared = Arc::new(build::first(Arc::clone(&config), clock)?);
        let address = config.listen.http;
        let refused = |source| Error::Listen { address, source };
        let listener = match inherited.take_http(address) {
            Some(listener) => listener,
            None => accept::listen(address).map_err(refused)?,
        };
        let grpc = listen_grpc(&config, &mut inherited)?;
        let tcp = listen_tcp(&config, &mut inherited)?;
        let admin_socket = match inherited.take_admin(config.admin.address) {
            Some(listener) => listener,
            None => Admin::listen(config.admin.address).map_err(Error::Admin)?,
        };
        let (stop, _) = watch::channel(Leave::No);
        let outliers = Arc::new(Outliers::new(Arc::clone(&shared)));
        let prober = observe::Prober::new(Arc::clone(&shared), seed);
        let board = prober.board();
        let processes = Processes::new(Arc::clone(&shared), Arc::clone(&board), seed);
        let groups = Groups::new(Arc::clone(&shared), outliers.rotations(), processes.handle());
        let watching = (Arc::clone(&outliers), Arc::clone(&groups));
        let reconfigure = Reconfigure::new(Arc::clone(&shared), prober, watching);
        let sources = Sources::new(&shared, Arc::clone(&board), seed);
        sources.begin(&config, &reconfigure).await;
        let orders = Orders::restore(&shared, Arc::clone(&groups));
        let known = (Arc::clone(&board), outliers.rotations(), Arc::clone(&groups));
        let discovery = Arc::clone(&sources.discovery);
        let copies = (listener.try_clone(), admin_socket.try_clone());
        let successor = Successor::new(copies.0.map_err(refused)?, copies.1.map_err(refused)?)
            .with_grpc(grpc.as_ref())
            .and_then(|successor| successor.with_tcp(&tcp))
            .map_err(refused)?;
        let lifecycle = Lifecycle::new(reconfigure.clone(), file, successor);
        let state = State::new(Arc::clone(&shared), known, discovery, Arc::clone(&orders))
            .with_processes(processes.view())
            .with_lifecycle(lifecycle.clone());
        let token =
            config.admin.token_file.clone().unwrap_or_else(|| config.state_dir.join("admin-token"));
        let admin = Admin::on(admin_socket, &token, Arc::new(state))
            .and_then(|admin| admin.with_heartbeats(&config.state_dir.join("heartbeat-token")))
            .map_err(Error::Admin)?;
        let admin =
            admin.with_audit(&config.state_dir.join("audit.jsonl"), clock).map_err(Error::Admin)?;
        let admin = match &config.admin.viewer_token_file {
            Some(file) => admin.with_viewers(file).map_err(Error::Admin)?,
            None => admin,
        };
        let admin = config.admin.names.iter().fold(admin, |admin, name| admin.known_as(name));
        let admin = match &config.admin.tls {
            Some(settings) => admin.with_tls(mainstay_tls::Server::shared(settings)),
            None => admin,
        };
        Ok(Self {
            config,
            shared,
            board,
            outliers,
            groups,
            reconfigure,
            sources,
            orders,
            processes,
            lifecycle,
            inherited,
            listener,
            grpc,
            tcp,
            admin,
            stop,
            seed,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not say.
    pub fn addresses(&self) -> std::io::Result<Running> {
        let tcp = self.tcp.iter().map(|(name, it)| Ok((Arc::clone(name), it.local_addr()?)));
        let tcp = tcp.collect::<std::io::Result<_>>()?;
        let grpc = self.grpc.as_ref().map(std::net::TcpListener::local_addr).transpose()?;
        Ok(Running { http: self.listener.local_addr()?, grpc, admin: self.admin.local_addr(), tcp })
    }

    /// The hand on what changes while it runs.
    #[must_use]
    pub fn reconfigure(&self) -> Reconfigure {
        self.reconfigure.clone()
    }

    /// The hand on the process: another configuration from the file, another binary.
    #[must_use]
    pub fn lifecycle(&self) -> Lifecycle {
        self.lifecycle.clone()
    }

    /// Serves until `shutdown` tells why to stop, then drains: not ready any more, no new
    /// connections, and what is in flight is finished within the configured limit.
    ///
    /// # Errors
    /// A worker could not be started.
    pub async fn run(self, shutdown: impl Future<Output = String>) -> Result<(), Error> {
        let Self {
            config,
            shared,
            board,
            outliers,
            groups,
            reconfigure,
            sources,
            orders,
            processes,
            listener,
            grpc,
            tcp,
            admin,
            stop,
            seed,
            lifecycle,
            inherited,
        } = self;
        let hand = processes.handle();
        let processes = processes.restore(reconfigure.clone()).await;
        let (alive, mut ended) = mpsc::channel::<()>(1);
        let mut senders = Vec::with_capacity(config.workers);
        for index in 0..config.workers {
            let (sender, sockets) = mpsc::channel(HANDOVER);
            senders.push(sender);
            let worker = Start {
                shared: Arc::clone(&shared),
                index,
                seed: seed.wrapping_add(index as u64),
                sockets,
                stop: stop.subscribe(),
                alive: alive.clone(),
            };
            worker.start()?;
        }
        drop(alive);
        let listener = tokio::net::TcpListener::from_std(listener).map_err(Error::Worker)?;
        let mut doors = vec![(listener, Door::Http)];
        if let Some(listener) = grpc {
            let listener = tokio::net::TcpListener::from_std(listener).map_err(Error::Worker)?;
            doors.push((listener, Door::Http));
        }
        for (name, listener) in tcp {
            let listener = tokio::net::TcpListener::from_std(listener).map_err(Error::Worker)?;
            doors.push((listener, Door::Tcp(name)));
        }
        // The admin listener answers until the very end: it tells how the drain goes. Unless
        // another process answers.
        let left = lifecycle.clone();
        let admin = tokio::spawn(admin.run(async move { left.handed_over().await }));
        // Ended with the gateway, whatever they are at.
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { board.run().await });
        if inherited.takes_over() {
            // Meanwhile the process before serves, and knows its servers.
            let _late = tokio::time::timeout(KNOWN_WITHIN, until_known(&shared)).await;
        }
        for door in doors {
            let (shared, senders) = (Arc::clone(&shared), senders.clone());
            tasks.spawn(accept::accept(door, shared, senders, stop.subscribe()));
        }
        drop(senders);
        let watching = lifecycle.clone();
        tasks.spawn(async move { watching.watch().await });
        tasks.spawn(outliers.run());
        tasks.spawn(processes.run());
        tasks.spawn(groups.run());
        tasks.spawn(look_after(Arc::clone(&shared)));
        tasks.spawn(sources.run(reconfigure));
        tasks.spawn(overload::watch(Arc::clone(&shared)));
        tasks.spawn(orders.run());
        tasks.spawn(tcp::Writers::new(Arc::clone(&shared)).run());
        tasks.spawn(aftermath::run(Arc::clone(&shared)));
        tasks.spawn(locality::watch(Arc::clone(&shared)));
        tasks.spawn(tls::watch(Arc::clone(&shared)));
        tasks.spawn(sweep_sequences(Arc::clone(&shared)));
        let living = Arc::clone(&shared);
        tasks.spawn(async move { service::watchdog(&living).await });
        tell_started(&shared, config.workers);

        if inherited.takes_over() {
            // Who served before names this process to the service manager.
            inherited.tell_ready();
        } else {
            service::serving(&shared.snapshot().config.version);
        }

        let limit = tokio::select! {
            cause = shutdown => {
                service::stopping(&cause);
                shared.start_draining(&cause);
                // What runs goes on, for the gateway that comes next.
                hand.retire();
                let limit = shared.snapshot().config.drain;
                tokio::time::sleep(GRACE.min(limit)).await;
                stop.send_replace(Leave::Drain);
                limit
            }
            () = lifecycle.handed_over() => {
                hand.retire();
                stop.send_replace(Leave::HandOver);
                shared.snapshot().config.drain
            }
        };
        lifecycle.close();
        let drained = tokio::time::timeout(limit, ended.recv()).await.is_ok();
        if !drained {
            tracing::warn!(?limit, "the drain limit passed with requests in flight");
        }
        drop(tasks);
        admin.abort();
        Ok(())
    }
}

/// The further socket for clients, given or opened.
fn listen_grpc(
    config: &Config,
    inherited: &mut Inherited,
) -> Result<Option<std::net::TcpListener>, Error> {
    let Some(address) = config.listen.grpc else { return Ok(None) };
    if let Some(listener) = inherited.take_grpc(address) {
        return Ok(Some(listener));
    }
    accept::listen(address).map(Some).map_err(|source| Error::Listen { address, source })
}

/// Opens the TCP listeners that were not inherited.
fn listen_tcp(
    config: &Config,
    inherited: &mut Inherited,
) -> Result<Vec<(Arc<str>, std::net::TcpListener)>, Error> {
    let open = |listener: &mainstay_config::TcpListener| {
        let address = listener.address;
        let socket = match inherited.take_tcp(&listener.name, address) {
            Some(socket) => socket,
            None => accept::listen(address).map_err(|source| Error::Listen { address, source })?,
        };
        Ok((Arc::clone(&listener.name), socket))
    };
    config.tcp.iter().map(open).collect()
}

/// What a worker's thread begins with.
struct Start {
    shared: Arc<Shared>,
    index: usize,
    seed: u64,
    sockets: mpsc::Receiver<Arrival>,
    stop: watch::Receiver<Leave>,
    /// Dropped when the worker has ended.
    alive: mpsc::Sender<()>,
}

impl Start {
    fn start(self) -> Result<(), Error> {
        let Self { shared, index, seed, sockets, stop, alive } = self;
        shared.pulses[index].beat(shared.clock.now());
        std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || {
                // A runtime whose tasks stay on their thread cannot be made on another one.
                match worker::runtime() {
                    Ok(runtime) => {
                        let worker = Worker::new(shared, index, seed);
                        runtime.block_on(worker.run(sockets, stop));
                    }
                    Err(error) => tracing::error!(%error, index, "a worker has no runtime"),
                }
                drop(alive);
            })
            .map_err(Error::Worker)?;
        Ok(())
    }
}

/// Waits until something is known of every target that is probed.
async fn until_known(shared: &Shared) {
    let snapshot = shared.snapshot();
    let is_probed =
        |watched: &&Watched| !matches!(snapshot.config.pools[watched.pool].probe.check, Check::Off);
    let unknown = || {
        let mut probed = snapshot.watched.iter().filter(is_probed);
        probed.any(|watched| watched.target.health.verdict() == Verdict::Unknown)
    };
    while unknown() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn tell_started(shared: &Shared, workers: usize) {
    shared.telemetry.event(Event {
        kind: EventKind::Gateway,
        subject: "gateway".to_owned(),
        from: "starting".to_owned(),
        to: "serving".to_owned(),
        cause: format!("configuration {}, {workers} workers", shared.snapshot().config.version),
    });
}

/// Tries embedded models again that did not load, and loads new files.
async fn look_after(shared: Arc<Shared>) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    loop {
        tick.tick().await;
        for model in &shared.snapshot().embedded {
            let (model, telemetry) = (Arc::clone(model), Arc::clone(&shared.telemetry));
            let looked = tokio::task::spawn_blocking(move || model.refresh(&telemetry)).await;
            if let Err(error) = looked {
                tracing::error!(%error, "loading an embedded model panicked");
            }
        }
    }
}

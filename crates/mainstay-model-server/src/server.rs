//! Listening, connections, and the end of both.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use mainstay_onnx::Executor;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Error;
use crate::repository::Repository;
use crate::service::Service;

/// Connections at a time; more wait in the system's queue. Each may hold one request body.
const CONNECTIONS: usize = 1024;
/// How long a connection may idle, or take over the head of a request. Longer than the minute
/// for which clients commonly keep idle connections, so that ours is not the side that closes.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// The pause after a connection could not be accepted (mostly: too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How to serve.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// A further address, for gRPC; port 0 lets the system choose. Default none.
    pub grpc: Option<SocketAddr>,
    /// The models: name and file.
    pub models: Vec<(String, PathBuf)>,
    /// Whether models wait to be loaded over the repository API. Default false.
    pub unloaded: bool,
    /// The engine that runs them.
    pub engine: mainstay_onnx::Options,
    /// Threads that run models.
    pub threads: usize,
    /// Requests that may wait for a thread; beyond it the answer is 503.
    pub queue: usize,
    /// The longest request body, in bytes.
    pub body_limit: usize,
    /// How long running requests may take to end after the shutdown began.
    pub drain: Duration,
}

impl Default for Options {
    /// A free port on loopback, no models, tract, one thread, 256 waiting, 64 MiB, 10 s.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            grpc: None,
            models: Vec::new(),
            unloaded: false,
            engine: mainstay_onnx::Options::default(),
            threads: 1,
            queue: 256,
            body_limit: 64 * 1024 * 1024,
            drain: Duration::from_secs(10),
        }
    }
}

/// A server that listens, with its models loaded as far as they could be.
#[derive(Debug)]
pub struct Server {
    listener: tokio::net::TcpListener,
    address: SocketAddr,
    grpc: Option<(tokio::net::TcpListener, SocketAddr)>,
    service: Arc<Service>,
    drain: Duration,
}

impl Server {
    /// Loads the models and listens. Call it inside a tokio runtime; it blocks while it loads.
    ///
    /// A model that cannot be loaded is no error: see [`Server::unavailable`].
    ///
    /// # Errors
    /// No models, two of one name, or an address that cannot be listened on.
    pub fn bind(options: Options) -> Result<Self, Error> {
        let address = options.listen;
        let repository = Repository::new(options.models, options.engine)?;
        let (listener, address) =
            listen(address).map_err(|source| Error::Listen { address, source })?;
        let grpc = options
            .grpc
            .map(|address| listen(address).map_err(|source| Error::Listen { address, source }));
        let grpc = grpc.transpose()?;
        if !options.unloaded {
            repository.load_all();
        }
        let service = Arc::new(Service {
            repository,
            executor: Executor::new(options.threads, options.queue),
            body_limit: options.body_limit,
        });
        Ok(Self { listener, address, grpc, service, drain: options.drain })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for gRPC, if it does.
    #[must_use]
    pub fn grpc_addr(&self) -> Option<SocketAddr> {
        self.grpc.as_ref().map(|(_, address)| *address)
    }

    /// The models that could not be loaded, each with the reason.
    #[must_use]
    pub fn unavailable(&self) -> Vec<(String, String)> {
        self.service.repository.failed()
    }

    /// Serves until `shutdown` is over, then lets running requests end within the drain time.
    /// Connections that take longer are cut.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let connections = GracefulShutdown::new();
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                (stream, slot) = accept(&self.listener, &slots) => {
                    serve(&connections, Arc::clone(&self.service), stream, slot);
                }
                (stream, slot) = accept_rpc(self.grpc.as_ref(), &slots) => {
                    serve_rpc(&connections, Arc::clone(&self.service), stream, slot);
                }
                () = &mut shutdown => break,
            }
        }
        drop((self.listener, self.grpc));
        // Over the limit the connections are cut as the runtime ends; nothing is left to do here.
        drop(tokio::time::timeout(self.drain, connections.shutdown()).await);
    }
}

fn listen(address: SocketAddr) -> std::io::Result<(tokio::net::TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((tokio::net::TcpListener::from_std(listener)?, address))
}

/// The next connection, once there is room for one.
async fn accept(
    listener: &tokio::net::TcpListener,
    slots: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed, so there is always a permit in the end.
    let slot = Arc::clone(slots).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, slot),
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// The next connection for gRPC; never, where nobody listens for it.
async fn accept_rpc(
    listening: Option<&(tokio::net::TcpListener, SocketAddr)>,
    slots: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    match listening {
        Some((listener, _)) => accept(listener, slots).await,
        None => std::future::pending().await,
    }
}

fn serve_rpc(
    connections: &GracefulShutdown,
    service: Arc<Service>,
    stream: TcpStream,
    slot: Option<OwnedSemaphorePermit>,
) {
    drop(stream.set_nodelay(true));
    let answer = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { Ok::<_, Infallible>(service.answer_rpc(request)) }
    });
    let connection =
        http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer);
    let connection = connections.watch(connection);
    tokio::spawn(async move {
        drop(connection.await);
        drop(slot);
    });
}

fn serve(
    connections: &GracefulShutdown,
    service: Arc<Service>,
    stream: TcpStream,
    slot: Option<OwnedSemaphorePermit>,
) {
    // Without it small answers may wait for the client's delayed acknowledgement.
    drop(stream.set_nodelay(true));
    let answer = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { Ok::<_, Infallible>(service.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), answer);
    let connection = connections.watch(connection);
    tokio::spawn(async move {
        // A connection that breaks is the client's business; there is nobody to tell.
        drop(connection.await);
        drop(slot);
    });
}

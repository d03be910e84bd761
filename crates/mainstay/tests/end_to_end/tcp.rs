//! Layer 4: connections of any protocol, passed on to whoever can take them.

mod drills;
mod redis;
mod writer;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::support::LIMIT;
use crate::support::gateway::Gateway;

/// What a server does with a connection.
#[derive(Clone, Copy, Debug)]
enum Habit {
    /// Says its name, then gives back what it gets, and ends when the client does.
    Echo,
    /// Gives back what it gets, and says nothing first.
    Silent,
    /// Reads once and resets the connection.
    Reset,
}

/// A server of a protocol of its own; gone when dropped.
struct Server {
    address: SocketAddr,
    served: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(name: &'static str, habit: Habit) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), name, habit).await
    }

    async fn start_at(address: SocketAddr, name: &'static str, habit: Habit) -> Self {
        let listener = TcpListener::bind(address).await.expect("the address is free");
        let address = listener.local_addr().unwrap();
        let served = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&served);
        let task = tokio::spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let count = Arc::clone(&count);
                open.spawn(async move {
                    // A client that leaves is none of our business.
                    let _ended = behave(stream, name, habit, &count).await;
                });
            }
        });
        Self { address, served, task }
    }

    fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn behave(
    mut stream: TcpStream,
    name: &str,
    habit: Habit,
    served: &AtomicUsize,
) -> io::Result<()> {
    if matches!(habit, Habit::Echo) {
        stream.write_all(name.as_bytes()).await?;
    }
    let mut buffer = vec![0; 64 * 1024];
    let mut first = true;
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        if std::mem::take(&mut first) {
            served.fetch_add(1, Ordering::SeqCst);
        }
        if matches!(habit, Habit::Reset) {
            return stream.set_zero_linger();
        }
        stream.write_all(&buffer[..read]).await?;
    }
}

/// A configuration with one TCP listener before a pool of these servers.
fn config(servers: &[&Server], listener: &Value, pool: &Value) -> Value {
    let endpoints: Vec<_> =
        servers.iter().map(|server| json!(format!("tcp://{}", server.address))).collect();
    let mut pools = json!({"p": {"protocol": "tcp", "endpoints": endpoints}});
    merge(&mut pools["p"], pool);
    let mut tcp = json!({"line": {"listen": "127.0.0.1:0", "pool": "p"}});
    merge(&mut tcp["line"], listener);
    json!({
        "listen": {"http": "127.0.0.1:0"},
        "admin": {"address": "127.0.0.1:0"},
        "workers": 2,
        "pools": pools,
        "tcp": tcp,
    })
}

fn merge(into: &mut Value, from: &Value) {
    for (key, value) in from.as_object().expect("a mapping") {
        into[key] = value.clone();
    }
}

/// A gateway with one TCP listener, and where that listens.
async fn start(config: Value) -> (Gateway, SocketAddr) {
    let mut gateway = Gateway::start(config).await;
    let address = gateway.process.announced("tcp line on ").await;
    (gateway, address.parse().expect("an address"))
}

/// The same, when every endpoint is ready.
async fn ready(config: Value) -> (Gateway, SocketAddr) {
    let (gateway, address) = start(config).await;
    gateway.until_ready().await;
    (gateway, address)
}

async fn connect(address: SocketAddr) -> TcpStream {
    timeout(LIMIT, TcpStream::connect(address)).await.expect("in time").expect("it listens")
}

/// So many bytes, or what went wrong.
async fn read(stream: &mut TcpStream, bytes: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; bytes];
    timeout(LIMIT, stream.read_exact(&mut buffer)).await.expect("in time")?;
    Ok(buffer)
}

/// Whether the connection is over: by an end, or by a reset.
async fn is_over(stream: &mut TcpStream) -> bool {
    let read = timeout(LIMIT, stream.read(&mut [0; 1])).await.expect("in time");
    !matches!(read, Ok(1))
}

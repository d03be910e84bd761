//! The processes of the demo: model servers in two pools, and the gateway before them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::digits::{BOOSTING, FOREST, LOGISTIC, MODEL};
use super::process::Process;
use super::timetable::{BOOSTING_SERVERS, FOREST_SERVERS, Target, endpoint_name};

/// Probes are quicker than the defaults, for a demo that does not keep its audience waiting.
/// The last step is for digits of which the small model is not sure: nine of ten it is.
const CONFIG: &str = r#"
node: {name: demo}
listen: {http: "127.0.0.1:0"}
admin: {address: "127.0.0.1:0"}
state-dir: "FOLDER"
pools:
  forest:
    probe: {interval: 500ms, fast-interval: 250ms, down-interval: 500ms, timeout: 200ms}
    endpoints:
FOREST
  boosting:
    probe: {interval: 500ms, fast-interval: 250ms, down-interval: 500ms, timeout: 200ms}
    endpoints:
BOOSTING
models:
  digits:
    deadline: 500ms
    batch: first-dimension
    outputs:
      label: {datatype: INT64, shape: [-1]}
      probabilities: {datatype: FP32, shape: [-1, 10]}
    chain:
      - {pool: forest}
      - {pool: boosting}
      - {embedded: "FOLDER/digits-logistic.onnx", confidence: {output: probabilities, at-least: 0.3}}
      - {default: {label: -1, probabilities: [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]}}
    exhausted: default
"#;

/// What has been done to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Up,
    Killed,
    Frozen,
    Starting,
}

/// A model server, running or not.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    pub(super) state: State,
    process: Process,
    arguments: Vec<String>,
    log: PathBuf,
}

/// A server that was started again.
pub(super) type Restarted = (&'static str, usize, anyhow::Result<Process>);

/// Everything that runs. The folder goes last, after those who use it.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) forest: Vec<Server>,
    pub(super) boosting: Vec<Server>,
    pub(super) config: PathBuf,
    gateway: Process,
    folder: TempDir,
}

impl Stage {
    /// Starts everything.
    pub(super) async fn set() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("mainstay-demo-").tempdir()?;
        let put = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes);
        put("digits-forest.onnx", FOREST)?;
        put("digits-boosting.onnx", BOOSTING)?;
        put("digits-logistic.onnx", LOGISTIC)?;
        let (forest, boosting) = tokio::try_join!(
            pool("forest", FOREST_SERVERS, folder.path()),
            pool("boosting", BOOSTING_SERVERS, folder.path()),
        )?;
        let config = folder.path().join("mainstay.yaml");
        std::fs::write(&config, configuration(folder.path(), &forest, &boosting))?;
        let serve = ["serve", "--config", &*config.to_string_lossy()].map(str::to_owned);
        let gateway = Process::start(&serve, &folder.path().join("gateway.log"), 2).await?;
        Ok(Self { forest, boosting, config, gateway, folder })
    }

    /// Where clients are served.
    pub(super) fn http(&self) -> SocketAddr {
        self.gateway.address(0)
    }

    /// Where operators are served.
    pub(super) fn admin(&self) -> SocketAddr {
        self.gateway.address(1)
    }

    /// Where logs and files are.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The model servers of a target.
    pub(super) fn servers(&self, target: Target) -> &[Server] {
        &self.pool(target.pool())[target.servers()]
    }

    fn pool(&self, pool: &str) -> &Vec<Server> {
        if pool == "forest" { &self.forest } else { &self.boosting }
    }

    fn pool_mut(&mut self, pool: &str) -> &mut Vec<Server> {
        if pool == "forest" { &mut self.forest } else { &mut self.boosting }
    }

    fn servers_mut(&mut self, target: Target) -> &mut [Server] {
        &mut self.pool_mut(target.pool())[target.servers()]
    }

    /// Kills all of a target at once, as a crash would, and waits until they are gone.
    pub(super) async fn kill(&mut self, target: Target) -> anyhow::Result<()> {
        for server in self.servers(target) {
            server.process.signal(Signal::KILL);
        }
        for server in self.servers_mut(target) {
            server.process.kill().await?;
            server.state = State::Killed;
        }
        Ok(())
    }

    /// Stops the time of a target: its connections stay, and nothing answers.
    pub(super) fn freeze(&mut self, target: Target) {
        for server in self.servers_mut(target) {
            server.process.signal(Signal::STOP);
            server.state = State::Frozen;
        }
    }

    /// Lets a frozen target go on.
    pub(super) fn thaw(&mut self, target: Target) {
        for server in self.servers_mut(target) {
            server.process.signal(Signal::CONT);
            server.state = State::Up;
        }
    }

    /// Begins to start a killed target again, each server on the port that it had.
    pub(super) fn restart(&mut self, target: Target, into: &mut JoinSet<Restarted>) {
        for index in target.servers() {
            let server = &mut self.pool_mut(target.pool())[index];
            server.state = State::Starting;
            let mut arguments = server.arguments.clone();
            arguments.push(server.address.to_string());
            let log = server.log.clone();
            into.spawn_local(async move {
                (target.pool(), index, Process::start(&arguments, &log, 1).await)
            });
        }
    }

    /// Takes a server that was started again.
    pub(super) fn restarted(&mut self, restarted: Restarted) -> anyhow::Result<()> {
        let (pool, index, process) = restarted;
        let server = &mut self.pool_mut(pool)[index];
        server.process = process.with_context(|| server.name.clone())?;
        server.state = State::Up;
        Ok(())
    }
}

impl Server {
    async fn start(pool: &str, index: usize, folder: &Path) -> anyhow::Result<Self> {
        let name = endpoint_name(pool, index);
        let model = folder.join(format!("digits-{pool}.onnx"));
        let model = format!("{MODEL}={}", model.display());
        let arguments = ["model-server", "--model", &model, "--listen"].map(str::to_owned).to_vec();
        let log = folder.join(format!("{name}.log"));
        let anywhere = [&arguments[..], &["127.0.0.1:0".to_owned()]].concat();
        let process = Process::start(&anywhere, &log, 1).await?;
        let address = process.address(0);
        Ok(Self { name, address, state: State::Up, process, arguments, log })
    }

    /// Its process id, for people.
    pub(super) const fn pid(&self) -> i32 {
        self.process.pid().as_raw_nonzero().get()
    }
}

async fn pool(name: &'static str, count: usize, folder: &Path) -> anyhow::Result<Vec<Server>> {
    let mut starting = JoinSet::new();
    for index in 0..count {
        let folder = folder.to_owned();
        starting.spawn_local(async move { Server::start(name, index, &folder).await });
    }
    let mut servers = starting.join_all().await.into_iter().collect::<Result<Vec<_>, _>>()?;
    servers.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(servers)
}

fn configuration(folder: &Path, forest: &[Server], boosting: &[Server]) -> String {
    let endpoint = |server: &Server| {
        format!("      - {{name: {}, url: \"http://{}\"}}", server.name, server.address)
    };
    let list = |pool: &[Server]| pool.iter().map(endpoint).collect::<Vec<_>>().join("\n");
    CONFIG
        .trim_start()
        .replace("FOLDER", &folder.to_string_lossy())
        .replace("FOREST", &list(forest))
        .replace("BOOSTING", &list(boosting))
}

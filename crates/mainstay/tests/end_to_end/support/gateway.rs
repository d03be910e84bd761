//! The gateway under test, its configuration, and what its admin listener tells.

use std::net::SocketAddr;
use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::eventually;
use super::http::{Answer, Request, ask};
use super::process::{Process, run};
use super::{LIMIT, process};

/// A `mainstay serve`.
pub(crate) struct Gateway {
    pub(crate) process: Process,
    pub(crate) http: SocketAddr,
    pub(crate) admin: SocketAddr,
    folder: TempDir,
}

/// A configuration as JSON, which YAML contains; tests change what they are about.
pub(crate) fn config(pools: &Value, models: &Value) -> Value {
    json!({
        "listen": {"http": "127.0.0.1:0"},
        "admin": {"address": "127.0.0.1:0"},
        "pools": pools,
        "models": models,
    })
}

/// A pool of these servers with nothing but defaults.
pub(crate) fn pool<'a>(addresses: impl IntoIterator<Item = &'a SocketAddr>) -> Value {
    let endpoints: Vec<_> = addresses.into_iter().map(endpoint).collect();
    json!({"endpoints": endpoints})
}

fn endpoint(address: &SocketAddr) -> Value {
    json!({"url": format!("http://{address}")})
}

/// The configuration on disk, with a state folder beside it.
fn write(mut config: Value) -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    config["state-dir"] = json!(folder.path());
    let path = folder.path().join("mainstay.yaml");
    std::fs::write(&path, text(&config)).expect("the configuration can be written");
    (folder, path.to_str().expect("UTF-8").to_owned())
}

fn text(config: &Value) -> String {
    serde_json::to_string_pretty(config).expect("JSON")
}

/// Where it listens, whether within TLS or not.
async fn announced(process: &mut Process) -> (SocketAddr, SocketAddr) {
    let address = |url: String| {
        let address = url.split_once("://").map(|(_, address)| address.parse());
        address.expect("a URL").expect("an address")
    };
    let http = process.announced("listening on ").await;
    let admin = process.announced("admin on ").await;
    (address(http), address(admin))
}

impl Gateway {
    /// Starts one and waits until it listens.
    pub(crate) async fn start(config: Value) -> Self {
        let (folder, path) = write(config);
        Self::serve(folder, &path).await
    }

    /// Starts one with more in its environment.
    pub(crate) async fn start_with(config: Value, environment: &[(&str, &str)]) -> Self {
        let (folder, path) = write(config);
        let process = Process::start_with(environment, &["serve", "--config", &path]);
        Self::announced(folder, process).await
    }

    /// Starts one whose file is reached over a link in a folder that a link leads to, as
    /// Kubernetes mounts a ConfigMap.
    pub(crate) async fn start_mounted(config: Value) -> Self {
        let (folder, path) = write(config);
        let of = |name: &str| folder.path().join(name);
        std::fs::create_dir(of("..first")).expect("a folder");
        std::fs::rename(&path, of("..first/mainstay.yaml")).expect("it can be moved");
        std::os::unix::fs::symlink("..first", of("..data")).expect("a link");
        std::os::unix::fs::symlink("..data/mainstay.yaml", &path).expect("a link");
        Self::serve(folder, &path).await
    }

    /// Turns the link of [`Self::start_mounted`] to another folder, as Kubernetes does.
    pub(crate) fn remount(&self, mut config: Value, name: &str) {
        let of = |name: &str| self.folder.path().join(name);
        config["state-dir"] = json!(self.folder.path());
        std::fs::create_dir(of(name)).expect("a folder");
        std::fs::write(of(name).join("mainstay.yaml"), text(&config)).expect("it can be written");
        std::os::unix::fs::symlink(name, of("..data_tmp")).expect("a link");
        std::fs::rename(of("..data_tmp"), of("..data")).expect("it can be turned");
    }

    async fn serve(folder: TempDir, path: &str) -> Self {
        let process = Process::start(&["serve", "--config", path]);
        Self::announced(folder, process).await
    }

    async fn announced(folder: TempDir, mut process: Process) -> Self {
        let (http, admin) = announced(&mut process).await;
        Self { process, http, admin, folder }
    }

    /// Kills it, and starts one again with the same configuration and state.
    pub(crate) async fn restarted_after_a_kill(self) -> Self {
        let Self { process, folder, .. } = self;
        process.signal(Signal::KILL);
        drop(process);
        let path = folder.path().join("mainstay.yaml");
        Self::serve(folder, path.to_str().expect("UTF-8")).await
    }

    /// Starts it again with the same configuration and state, after [`Process::kill`].
    pub(crate) async fn restart(&mut self) {
        let path = self.folder.path().join("mainstay.yaml");
        let path = path.to_str().expect("UTF-8");
        self.process = Process::start(&["serve", "--config", path]);
        (self.http, self.admin) = announced(&mut self.process).await;
    }

    /// Starts one that is meant to refuse.
    pub(crate) async fn refused(config: Value) -> process::Ended {
        let (_folder, path) = write(config);
        run(&["serve", "--config", &path], LIMIT).await
    }

    /// Starts one and waits until every endpoint is ready.
    pub(crate) async fn ready(config: Value) -> Self {
        let gateway = Self::start(config).await;
        gateway.until_ready().await;
        gateway
    }

    pub(crate) async fn until_ready(&self) {
        eventually("every endpoint is ready", || async {
            let verdicts = self.verdicts().await;
            verdicts.iter().all(|(_, verdict)| verdict == "ready").then_some(())
        })
        .await;
    }

    /// Ends it and starts it again with the same configuration and the same state folder; waits
    /// until every endpoint is ready.
    pub(crate) async fn restarted(mut self) -> Self {
        self.process.kill().await;
        let path = self.folder.path().join("mainstay.yaml");
        let gateway = Self::serve(self.folder, path.to_str().expect("UTF-8")).await;
        gateway.until_ready().await;
        gateway
    }

    /// One request on a connection of its own.
    pub(crate) async fn ask(&self, request: &Request) -> Answer {
        ask(self.http, request).await
    }

    /// What the admin listener says under `path`.
    pub(crate) async fn admin(&self, path: &str) -> Value {
        let answer = ask(self.admin, &Request::get(path)).await;
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
        answer.json()
    }

    pub(crate) async fn status(&self) -> Value {
        self.admin("/api/status").await
    }

    /// Every target's state in the status, with its endpoint's name.
    pub(crate) async fn targets(&self) -> Vec<(String, Value)> {
        let status = self.status().await;
        let pools = status["pools"].as_array().expect("pools");
        let endpoints = pools.iter().flat_map(|pool| pool["endpoints"].as_array().expect("them"));
        endpoints
            .flat_map(|endpoint| {
                let name = endpoint["name"].as_str().expect("a name").to_owned();
                let models = endpoint["models"].as_array().expect("models").clone();
                models.into_iter().map(move |model| (name.clone(), model))
            })
            .collect()
    }

    /// Every endpoint with its verdict.
    pub(crate) async fn verdicts(&self) -> Vec<(String, String)> {
        let targets = self.targets().await;
        let verdict = |model: &Value| model["verdict"].as_str().expect("a verdict").to_owned();
        targets.into_iter().map(|(name, model)| (name, verdict(&model))).collect()
    }

    /// Waits until the endpoint has this verdict.
    pub(crate) async fn until_verdict(&self, endpoint: &str, wanted: &str) {
        eventually(&format!("{endpoint} is {wanted}"), || async {
            let verdicts = self.verdicts().await;
            verdicts.iter().any(|(name, is)| name == endpoint && is == wanted).then_some(())
        })
        .await;
    }

    /// The state of each breaker, in the order of the targets.
    pub(crate) async fn breakers(&self) -> Vec<Value> {
        self.targets().await.into_iter().map(|(_, model)| model["breaker"].clone()).collect()
    }

    /// The events of a kind since the start.
    pub(crate) async fn events(&self, kind: &str) -> Vec<Value> {
        let all = self.admin("/api/events?since=0").await;
        let events = all["events"].as_array().expect("events").clone();
        events.into_iter().filter(|event| event["kind"] == kind).collect()
    }

    /// The decision record of an answer, as soon as it is written.
    pub(crate) async fn record(&self, answer: &Answer) -> Value {
        let id = answer.header("x-mainstay-request-id").expect("every answer has an id");
        let request = Request::get(&format!("/api/requests/{id}"));
        eventually("the decision record", || async {
            let answer = ask(self.admin, &request).await;
            (answer.status() == 200).then(|| answer.json())
        })
        .await
    }

    /// The operators' token, made on the first start.
    pub(crate) fn token(&self) -> String {
        let text = std::fs::read_to_string(self.token_file()).expect("the token is there");
        text.trim().to_owned()
    }

    pub(crate) fn token_file(&self) -> PathBuf {
        self.folder.path().join("admin-token")
    }

    /// The token that servers send their heartbeats with.
    pub(crate) fn heartbeat_token_file(&self) -> PathBuf {
        self.folder.path().join("heartbeat-token")
    }

    /// The folder of its state.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Has its file read again; what it answers.
    pub(crate) async fn reload(&self) -> Answer {
        self.operate("/api/reload").await
    }

    /// Has another process take over; its number.
    pub(crate) async fn upgrade(&self) -> u32 {
        let answer = self.operate("/api/upgrade").await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let pid = answer.json()["pid"].as_u64().expect("a process");
        u32::try_from(pid).expect("a number")
    }

    async fn operate(&self, path: &str) -> Answer {
        let token = format!("Bearer {}", self.token());
        ask(self.admin, &Request::post(path, "").header("authorization", &token)).await
    }

    /// The file of its configuration.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("mainstay.yaml")
    }

    /// Writes another configuration into its file.
    pub(crate) fn rewrite(&self, mut config: Value) {
        config["state-dir"] = json!(self.folder.path());
        self.rewrite_text(&text(&config));
    }

    pub(crate) fn rewrite_text(&self, text: &str) {
        std::fs::write(self.file(), text).expect("the configuration can be written");
    }

    /// Puts another file in the place of its own, as editors do.
    pub(crate) fn replace(&self, mut config: Value) {
        config["state-dir"] = json!(self.folder.path());
        let new = self.folder.path().join("new.yaml");
        std::fs::write(&new, text(&config)).expect("the configuration can be written");
        std::fs::rename(&new, self.file()).expect("it can be put in place");
    }

    pub(crate) fn terminate(&self) {
        self.process.signal(Signal::TERM);
    }
}

//! A real model server that can be killed, frozen and started again on its port.

use std::net::SocketAddr;
use std::path::Path;

use rustix::process::Signal;

use super::demo;
use super::digits::MODEL;
use super::process::Process;

/// A `mainstay model-server` with the demo's best model.
pub(crate) struct ModelServer {
    process: Process,
    pub(crate) address: SocketAddr,
}

impl ModelServer {
    /// Starts one on a free port.
    pub(crate) async fn start() -> Self {
        Self::start_at("127.0.0.1:0").await
    }

    /// Starts several.
    pub(crate) async fn several(count: usize) -> Vec<Self> {
        let mut servers = Vec::new();
        for _ in 0..count {
            servers.push(Self::start().await);
        }
        servers
    }

    /// Starts one whose model waits to be loaded.
    pub(crate) async fn start_unloaded() -> Self {
        Self::start_unloaded_with(&demo("digits-forest.onnx")).await
    }

    /// The same, with another file under the same name.
    pub(crate) async fn start_unloaded_with(file: &Path) -> Self {
        Self::start_all("127.0.0.1:0", file, &["--unloaded"]).await
    }

    /// Starts one at this address.
    pub(crate) async fn start_at(listen: &str) -> Self {
        Self::start_with(listen, &demo("digits-forest.onnx")).await
    }

    /// Starts one on a free port with more arguments.
    pub(crate) async fn start_as(more: &[&str]) -> Self {
        Self::start_all("127.0.0.1:0", &demo("digits-forest.onnx"), more).await
    }

    async fn start_with(listen: &str, file: &Path) -> Self {
        Self::start_all(listen, file, &[]).await
    }

    async fn start_all(listen: &str, file: &Path, more: &[&str]) -> Self {
        let model = format!("{MODEL}={}", file.display());
        let arguments = ["model-server", "--model", &model, "--listen", listen];
        let mut process = Process::start(&[&arguments[..], more].concat());
        let address = process.announced("listening on http://").await;
        Self { process, address: address.parse().expect("an address") }
    }

    /// As an endpoint is named where its configuration gives no name.
    pub(crate) fn name(&self) -> String {
        self.address.to_string()
    }

    /// Starts it again on the same port, after [`Self::kill`].
    pub(crate) async fn restart(&mut self) {
        *self = Self::start_at(&self.address.to_string()).await;
    }

    /// The same, with another file under the same name.
    pub(crate) async fn restart_with(&mut self, file: &Path) {
        *self = Self::start_with(&self.address.to_string(), file).await;
    }

    pub(crate) async fn kill(&mut self) {
        self.process.kill().await;
    }

    /// Stops its time: connections are accepted by the kernel, and nothing is answered.
    pub(crate) fn freeze(&self) {
        self.process.signal(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.process.signal(Signal::CONT);
    }

    /// Asks it to end; the code it ends with.
    pub(crate) async fn terminate(&mut self) -> Option<i32> {
        self.process.signal(Signal::TERM);
        self.process.ended().await.code()
    }
}

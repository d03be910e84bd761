//! Supervised model servers: what they are made from, and what the status says of them.

use std::net::{SocketAddr, TcpListener};

use rustix::process::{Pid, test_kill_process};
use serde_json::{Value, json};

use super::digits::{self, MODEL};
use super::gateway::{Gateway, config};
use super::load::Load;
use super::{demo, eventually};

/// Requests a second.
const RATE: u32 = 100;

/// An address that nobody listens on.
pub(crate) fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}

pub(crate) fn program() -> &'static str {
    env!("CARGO_BIN_EXE_mainstay")
}

/// The arguments of a model server.
pub(crate) fn server(address: SocketAddr) -> Vec<String> {
    let model = format!("{MODEL}={}", demo("digits-forest.onnx").display());
    let arguments = [program(), "model-server", "--model", &model, "--listen"];
    arguments.map(str::to_owned).into_iter().chain([address.to_string()]).collect()
}

pub(crate) fn endpoint(name: &str, address: SocketAddr, process: &Value) -> Value {
    json!({"url": format!("http://{address}"), "name": name, "process": process})
}

/// One pool of these endpoints before an embedded model; the guardian goes soon after the test.
pub(crate) fn supervised(endpoints: &[Value]) -> Value {
    let pools = json!({"forest": {
        "endpoints": endpoints,
        "probe": {"interval": "500ms", "fast-interval": "200ms", "down-interval": "200ms", "timeout": "150ms"},
    }});
    let chain = json!([
        {"pool": "forest"},
        {"embedded": demo("digits-logistic.onnx")},
    ]);
    let outputs = json!({
        "label": {"datatype": "INT64", "shape": [-1]},
        "probabilities": {"datatype": "FP32", "shape": [-1, 10]}
    });
    let models = json!({MODEL: {"deadline": "2s", "outputs": outputs, "chain": chain}});
    let mut config = config(&pools, &models);
    config["supervision"] = json!({"linger": "3s"});
    config
}

/// What the status says of the process of an endpoint.
pub(crate) async fn process(gateway: &Gateway, endpoint: &str) -> Value {
    let status = gateway.status().await;
    let endpoints = status["pools"][0]["endpoints"].as_array().expect("endpoints").clone();
    let found = endpoints.into_iter().find(|known| known["name"] == endpoint);
    found.expect("the endpoint is there")["process"].clone()
}

/// Waits until the process of an endpoint is as wanted.
pub(crate) async fn until(
    gateway: &Gateway,
    endpoint: &str,
    what: &str,
    fits: impl Fn(&Value) -> bool,
) -> Value {
    eventually(&format!("{endpoint}: {what}"), || async {
        let process = process(gateway, endpoint).await;
        fits(&process).then_some(process)
    })
    .await
}

pub(crate) async fn until_running(gateway: &Gateway, endpoint: &str) -> Pid {
    let process = until(gateway, endpoint, "running", |it| it["state"] == "running").await;
    pid(&process)
}

pub(crate) fn pid(process: &Value) -> Pid {
    let number = process["pid"].as_i64().expect("a process id");
    Pid::from_raw(i32::try_from(number).expect("it fits")).expect("not zero")
}

pub(crate) fn is_alive(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    let is_zombie =
        stat.is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, s)| s.starts_with('Z')));
    test_kill_process(pid).is_ok() && !is_zombie
}

pub(crate) fn load(gateway: &Gateway) -> Load {
    let rows = digits::all();
    Load::start(gateway.http, RATE, move |number| digits::infer(&rows[number % rows.len()..][..1]))
}

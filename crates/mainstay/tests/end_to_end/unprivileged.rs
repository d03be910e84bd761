//! The program needs no right that an ordinary user has not.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::support::LIMIT;
use crate::support::gateway::{config, pool};
use crate::support::http::{Request, ask};
use crate::support::peer::Peer;

#[tokio::test]
async fn an_ordinary_user_without_capabilities_runs_it() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: every other test of this run shows it");
        return;
    }
    let peer = Peer::good(0.5).await;
    let models = json!({"m": {"chain": [{"pool": "p"}]}});
    let mut config = config(&json!({"p": pool([&peer.address])}), &models);
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
    config["state-dir"] = json!(folder.path().join("state"));
    let file = folder.path().join("mainstay.yaml");
    std::fs::write(&file, config.to_string()).unwrap();
    let program = folder.path().join("mainstay");
    std::fs::copy(env!("CARGO_BIN_EXE_mainstay"), &program).unwrap();
    let mut child = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"])
        .args(["--bounding-set=-all", "--inh-caps=-all"])
        .arg(&program)
        .args(["serve", "--config", file.to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("setpriv is there");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = timeout(LIMIT, async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some((_, address)) = line.split_once("listening on http://") {
                return address.trim().parse().unwrap();
            }
        }
        panic!("it ended");
    });
    let address = address.await.expect("in time");
    let answer = ask(address, &Request::get("/v2/models/m/ready")).await;
    assert!(matches!(answer.status(), 200 | 503), "{}", answer.text());
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id().unwrap())).unwrap();
    let capabilities = status.lines().filter(|line| line.starts_with("Cap"));
    for line in capabilities.filter(|line| !line.starts_with("CapBnd")) {
        assert!(line.ends_with("0000000000000000"), "{line}");
    }
    child.kill().await.unwrap();
}

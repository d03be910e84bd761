//! `mainstay demo --fast --json`: what the README promises, measured by itself.

use std::time::Duration;

use serde_json::Value;

use crate::support::eventually;
use crate::support::process::{Process, run};

/// Twice what it may take on a free machine.
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_fast_demo_loses_no_request_and_measures_every_fault() {
    let ended = run(&["demo", "--fast", "--json"], LIMIT).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let said: Value = serde_json::from_str(&ended.stdout).expect("one object, nothing else");
    println!("{said:#}");

    assert!(said["requests"].as_u64().expect("a count") >= 500, "{said:#}");
    assert_eq!(said["client_errors"], 0, "{said:#}");
    assert!(said["degraded"].as_u64().expect("a count") > 0, "{said:#}");
    for source in ["forest", "boosting", "embedded", "default"] {
        assert!(said["served_by"][source].as_u64() > Some(0), "{source} answered: {said:#}");
    }
    let accuracy = |source: &str| said["accuracy"][source].as_f64().expect("a share");
    assert!(accuracy("forest") > 0.95, "{said:#}");
    assert!(accuracy("forest") > accuracy("boosting"), "{said:#}");

    let faults = said["faults"].as_array().expect("a list");
    assert!(faults.len() >= 3, "{said:#}");
    for fault in faults {
        assert!(fault["kind"].is_string() && fault["target"].is_string(), "{fault}");
        for time in ["detected_ms", "switched_ms", "recovered_ms"] {
            assert!(fault[time].is_number(), "{time} was measured: {fault}");
        }
    }
}

#[tokio::test]
async fn a_demo_that_is_killed_leaves_no_process_behind() {
    // What it cannot clean up is not left in the real one.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut demo = Process::start_in(folder.path(), &["demo", "--fast"]);
    eventually("the traffic runs", || async {
        demo.errors().contains("kill forest-1").then_some(())
    })
    .await;
    let children = children_of(demo.id());
    assert!(children.len() >= 5, "model servers and a gateway: {children:?}");
    demo.kill().await;
    eventually("its processes end", || async {
        children.iter().all(|child| !is_running(*child)).then_some(())
    })
    .await;
}

/// State and parent of a process, from `/proc/ID/stat`: what follows the name in brackets.
fn stat(id: u32) -> Option<(String, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let mut words = stat.rsplit_once(") ")?.1.split(' ');
    Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
}

fn children_of(parent: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("a Linux machine");
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    ids.filter(|id| stat(*id).is_some_and(|(_, of)| of == parent)).collect()
}

/// Gone, or dead and waiting for whoever adopted it.
fn is_running(id: u32) -> bool {
    stat(id).is_some_and(|(state, _)| state != "Z" && state != "X")
}

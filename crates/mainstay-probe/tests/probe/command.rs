//! Commands: the exit code, the time limit, and what they leave behind.

use std::fs;
use std::path::Path;
use std::time::Duration;

use mainstay_policy::health::Check;
use mainstay_probe::{Found, Probe, probe};

use crate::{AMPLE, asked, until};

fn command(argv: &[&str], timeout: Duration) -> Probe {
    let check = mainstay_config::Check::Command {
        argv: argv.iter().map(|argument| (*argument).to_owned()).collect(),
    };
    Probe { check, timeout, ..asked("http://127.0.0.1:1", "off") }
}

async fn run(argv: &[&str]) -> Found {
    probe(&command(argv, AMPLE)).await
}

#[tokio::test]
async fn exit_code_zero_passes() {
    assert_eq!(run(&["true"]).await.check, Check::Passed);
    let found = run(&["sh", "-c", "exit 3"]).await;
    assert_eq!((found.check, found.detail.as_str()), (Check::Failed, "exit status: 3"));
    assert_eq!(run(&["/no/such/program"]).await.check, Check::Failed);
    assert_eq!(run(&["sh", "-c", "kill -9 $$"]).await.check, Check::Failed);
}

#[tokio::test]
async fn arguments_pass_through_no_shell() {
    assert_eq!(run(&["test", "$HOME; false", "=", "$HOME; false"]).await.check, Check::Passed);
}

#[tokio::test]
async fn nothing_of_our_environment_but_the_path_is_passed_on() {
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some(), "cargo sets it for tests");
    let script = "test -n \"$PATH\" && test -z \"$CARGO_MANIFEST_DIR$HOME$USER\"";
    assert_eq!(run(&["sh", "-c", script]).await.check, Check::Passed);
}

#[tokio::test]
async fn a_talkative_command_fills_nothing() {
    let script = "yes | head -c 10000000; yes | head -c 10000000 >&2";
    assert_eq!(run(&["sh", "-c", script]).await.check, Check::Passed);
}

/// Starts a child in the background, writes its number to `$1`, and goes on as `then` says.
fn with_child(then: &str) -> String {
    format!("sleep 600 & echo $! > \"$1.new\" && mv \"$1.new\" \"$1\"; {then}")
}

/// Whether no process of this number runs; one that nobody has reaped yet does not run.
fn is_gone(pid: &str) -> bool {
    let Ok(stat) = fs::read_to_string(Path::new("/proc").join(pid).join("stat")) else {
        return true;
    };
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
}

#[tokio::test]
async fn after_its_time_the_whole_group_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = with_child("wait");
    let mut timeout = Duration::from_millis(250);
    // On a loaded machine the child may not have started in time: again, with more of it.
    while !file.exists() {
        let argv = ["sh", "-c", script.as_str(), "sh", file.to_str().unwrap()];
        assert_eq!(probe(&command(&argv, timeout)).await.check, Check::TimedOut);
        timeout *= 2;
    }
    let pid = fs::read_to_string(&file).unwrap();
    until("the child to be gone", || is_gone(pid.trim())).await;
}

#[tokio::test]
async fn what_a_command_left_behind_is_killed_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = with_child("exit 0");
    let found = run(&["sh", "-c", &script, "sh", file.to_str().unwrap()]).await;
    assert_eq!(found.check, Check::Passed);
    let pid = fs::read_to_string(&file).unwrap();
    until("the child to be gone", || is_gone(pid.trim())).await;
}

#[tokio::test]
async fn a_probe_that_is_given_up_kills_its_command() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = with_child("wait");
    let argv = ["sh", "-c", script.as_str(), "sh", file.to_str().unwrap()];
    let asked = command(&argv, Duration::from_secs(600));
    let task = tokio::spawn(async move { probe(&asked).await });
    until("the child to start", || file.exists()).await;
    task.abort();
    let pid = fs::read_to_string(&file).unwrap();
    until("the child to be gone", || is_gone(pid.trim())).await;
}

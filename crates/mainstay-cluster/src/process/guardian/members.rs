//! Everything that belongs to a supervised process, and the end of it.
//!
//! A process group is not enough: whoever calls setsid(2) leaves it. So three things are looked
//! at: the session that the process was started in, the mark in its environment that all of its
//! descendants inherit, and who descends from it now. A descendant that has a session and an
//! environment of its own and whose parents have all ended before the look escapes these three;
//! with a writable cgroup (v2) nobody does.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// The variable that marks what a guardian has started: its socket, pool and endpoint.
pub(super) const MARK: &str = "MAINSTAY_SUPERVISED";
/// Looks at what was killed until it is gone.
const AGAIN: Duration = Duration::from_millis(50);
/// So many of them at the start, before the guardian goes on and says what is left.
const LOOKS: u32 = 100;

/// What `/proc` says of one process.
#[derive(Clone, Copy, Debug)]
struct Entry {
    pid: i32,
    parent: i32,
    session: i32,
}

/// The live processes that belong to the process `leader`, itself among them.
pub(super) fn of(leader: i32, mark: &str) -> Vec<i32> {
    let all = entries();
    let mut found: HashSet<i32> = descendants(leader, &all);
    found.extend(all.iter().filter(|entry| entry.session == leader).map(|entry| entry.pid));
    found.extend(all.iter().filter(|entry| is_marked(entry.pid, mark)).map(|entry| entry.pid));
    found.remove(&own_pid());
    found.into_iter().collect()
}

/// Kills every one of them.
pub(super) fn kill(members: &[i32]) {
    for pid in members.iter().filter_map(|pid| Pid::from_raw(*pid)) {
        // One that has just ended is what was wanted.
        let _gone = kill_process(pid, Signal::KILL);
    }
}

/// Kills what an earlier guardian of the same socket left behind, and waits until it is gone.
pub(super) async fn sweep(socket: &str) {
    let mark = format!("{socket}/");
    for look in 0..LOOKS {
        let left: Vec<_> =
            entries().iter().map(|entry| entry.pid).filter(|pid| has_mark(*pid, &mark)).collect();
        if left.is_empty() {
            return;
        }
        if look == 0 {
            tracing::warn!(?left, "killing what an earlier guardian left behind");
        }
        kill(&left);
        tokio::time::sleep(AGAIN).await;
    }
    tracing::error!("not everything that an earlier guardian left could be killed");
}

fn own_pid() -> i32 {
    std::process::id().cast_signed()
}

fn descendants(leader: i32, all: &[Entry]) -> HashSet<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for entry in all {
        children.entry(entry.parent).or_default().push(entry.pid);
    }
    let mut found = HashSet::new();
    let mut next: Vec<i32> =
        all.iter().filter(|entry| entry.pid == leader).map(|entry| entry.pid).collect();
    while let Some(pid) = next.pop() {
        if found.insert(pid) {
            next.extend(children.get(&pid).into_iter().flatten());
        }
    }
    found
}

/// Every live process; zombies have ended already.
fn entries() -> Vec<Entry> {
    let folders = fs::read_dir("/proc").into_iter().flatten().flatten();
    folders
        .filter_map(|folder| folder.file_name().to_str()?.parse().ok())
        .filter_map(|pid| parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
        .collect()
}

/// `pid (comm) state ppid pgrp session …` (proc(5)); the name may hold anything but its end.
fn parse(pid: i32, stat: &str) -> Option<Entry> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(Entry { pid, parent, session })
}

fn is_marked(pid: i32, mark: &str) -> bool {
    variable(pid).is_some_and(|value| value == mark)
}

fn has_mark(pid: i32, prefix: &str) -> bool {
    pid != own_pid() && variable(pid).is_some_and(|value| value.starts_with(prefix))
}

fn variable(pid: i32) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let named = |entry: &[u8]| {
        let text = std::str::from_utf8(entry).ok()?;
        text.strip_prefix(MARK)?.strip_prefix('=').map(ToOwned::to_owned)
    };
    environment.split(|byte| *byte == 0).find_map(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_programs_cannot_confuse_the_reader() {
        let entry = parse(7, "7 (a) S 1 (b) S 3 4 5 0 -1").unwrap();
        assert_eq!((entry.parent, entry.session), (3, 5));
        assert!(parse(7, "7 (gone) Z 3 4 5 0 -1").is_none());
    }

    #[test]
    fn descendants_are_found_over_generations() {
        let entry = |pid, parent| Entry { pid, parent, session: 1 };
        let all = [entry(2, 1), entry(3, 2), entry(4, 3), entry(5, 1)];
        assert_eq!(descendants(2, &all), HashSet::from([2, 3, 4]));
        assert!(descendants(9, &all).is_empty());
    }
}

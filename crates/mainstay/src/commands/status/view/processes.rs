//! Supervised processes: what they are doing, how they last ended, and what they last said.

use std::fmt::Write;

use comfy_table::{Cell, Color, Table};
use mainstay_admin::Status;
use mainstay_admin::status::{EndpointStatus, ProcessStatus};

use crate::commands::look::{Look, age, cell, grouped, table};

/// Lines of output that are shown of a process that is in trouble.
const LINES: usize = 5;

/// Everything about processes; empty where there are none.
pub(super) fn section(status: &Status, look: Look) -> String {
    let all: Vec<_> = supervised(status).collect();
    if all.is_empty() {
        return String::new();
    }
    let mut text = format!("\n\n{}", rows(&all, look).trim_fmt());
    for (pool, endpoint, process) in all.iter().filter(|(.., process)| is_in_trouble(process)) {
        text.push_str(&story(&format!("{pool}/{}", endpoint.name), process));
    }
    text
}

fn supervised(status: &Status) -> impl Iterator<Item = (&str, &EndpointStatus, &ProcessStatus)> {
    status.pools.iter().flat_map(|pool| {
        let processes = pool.endpoints.iter();
        processes.filter_map(|end| Some((&*pool.name, end, end.process.as_ref()?)))
    })
}

fn is_in_trouble(process: &ProcessStatus) -> bool {
    process.crash_looping || (process.wanted && process.state != "running")
}

fn rows(all: &[(&str, &EndpointStatus, &ProcessStatus)], look: Look) -> Table {
    let names = ["PROCESS", "STATE", "PID", "FOR", "FAILURES", "LAST END"];
    let mut table = table(&names, look);
    for (pool, endpoint, process) in all {
        let pid = process.pid.map_or_else(String::new, |pid| pid.to_string());
        table.add_row(vec![
            Cell::new(format!("{pool}/{}", endpoint.name)),
            state(process, look),
            Cell::new(pid),
            Cell::new(process.up_seconds.map(age).unwrap_or_default()),
            Cell::new(grouped(process.failures)),
            Cell::new(last(process)),
        ]);
    }
    table
}

fn state(process: &ProcessStatus, look: Look) -> Cell {
    let colour = match &*process.state {
        "crash-loop" => Color::Red,
        _ if process.crash_looping => Color::Red,
        "running" => Color::Green,
        "stopped" if !process.wanted => Color::Grey,
        _ => Color::Yellow,
    };
    let mut text = process.state.clone();
    if process.crash_looping && process.state != "crash-loop" {
        text.push_str(", in a crash loop");
    }
    if process.outdated {
        text.push_str(", outdated");
    }
    if let Some(left) = process.until_seconds {
        text.push_str(&format!(", next try in {}", age(left)));
    }
    cell(&text, Some(colour), look)
}

fn last(process: &ProcessStatus) -> String {
    let Some(exit) = &process.last_exit else { return String::new() };
    let (ago, ran) = (age(exit.ago_seconds), age(exit.ran_seconds));
    format!("{} {ago} ago after {ran}: {}", exit.cause, exit.evidence)
}

/// Why it is so, and its last words.
fn story(name: &str, process: &ProcessStatus) -> String {
    let mut text = format!("\n\n{name}: {}", process.why);
    // Writing to a string does not fail.
    if !process.limits.is_empty() {
        let _ = write!(text, "\n  limits: {}", process.limits);
    }
    let _ = write!(text, "\n  log: {}", process.log);
    let from = process.last_lines.len().saturating_sub(LINES);
    for line in &process.last_lines[from..] {
        let _ = write!(text, "\n  | {line}");
    }
    text
}

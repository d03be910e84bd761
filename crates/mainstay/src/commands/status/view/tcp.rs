//! TCP listeners: what they pass on, and how their connections ended.

use comfy_table::{Cell, Color};
use mainstay_admin::Status;
use mainstay_admin::status::{PoolStatus, TcpStatus};

use crate::commands::look::{Look, align_right, cell, grouped, table};

/// Everything about TCP listeners; empty where there are none.
pub(super) fn section(status: &Status, look: Look) -> String {
    if status.tcp.is_empty() {
        return String::new();
    }
    let names = ["TCP", "ADDRESS", "POOLS", "OPEN", "CONNECTIONS", "RETRIED", "ENDED BADLY"];
    let mut table = table(&names, look);
    for column in 3..6 {
        align_right(&mut table, column);
    }
    for listener in &status.tcp {
        let name = if listener.available { None } else { Some(Color::Red) };
        table.add_row(vec![
            cell(&listener.name, name, look),
            Cell::new(&listener.address),
            Cell::new(listener.pools.join(", ")),
            Cell::new(grouped(listener.open.into())),
            Cell::new(grouped(listener.accepted)),
            Cell::new(grouped(listener.retried)),
            Cell::new(badly(listener)),
        ]);
    }
    format!("\n\n{}", table.trim_fmt())
}

/// Every way but the good one in which connections ended.
fn badly(listener: &TcpStatus) -> String {
    let ends = listener.ends.iter().filter(|(end, count)| **end != "done" && **count > 0);
    let ends: Vec<_> = ends.map(|(end, count)| format!("{} {end}", grouped(*count))).collect();
    ends.join(", ")
}

/// Who of a pool with one writer that is; empty where any may be written to.
pub(super) fn writer(pool: &PoolStatus) -> String {
    let Some(writer) = &pool.writer else { return String::new() };
    let who = writer.endpoint.as_deref().unwrap_or("nobody");
    let mut text = format!("\n{}: {who} is the writer, epoch {}", pool.name, writer.epoch);
    if !writer.why.is_empty() {
        text.push_str(": ");
        text.push_str(&writer.why);
    }
    if let Some(rival) = &writer.rival {
        text.push_str(&format!(
            "\n{}: {rival} claims to be primary as well, and is not used",
            pool.name
        ));
    }
    text
}

//! The audit trail: every verb, with who asked, from where, what, why, and how it ended.
//!
//! A file of one JSON object a line, only ever appended to, and an event for each verb beside it.
//! What was refused is kept as well, a few a second at most: whoever cannot name itself must not
//! be able to fill a disk. Bodies of verbs hold names and reasons and no secrets; tokens are in
//! headers, which are not kept.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use mainstay_policy::Moment;
use mainstay_policy::limit::{Bucket, Rate};
use mainstay_telemetry::{Event, EventKind, Telemetry};
use serde_json::{Value, json};

use crate::guard::Role;

/// Refused verbs that are kept: so many a second, and so many at once.
const REFUSED: (f64, u32) = (1.0, 20);

/// Characters of a path that are kept.
const LONGEST: usize = 200;

/// The file.
#[derive(Debug)]
pub(crate) struct Audit {
    file: Mutex<File>,
    refused: Bucket,
}

/// One verb.
#[derive(Debug)]
pub(crate) struct Entry {
    /// By which token; `None` without a right one.
    pub(crate) role: Option<Role>,
    pub(crate) from: Option<SocketAddr>,
    pub(crate) method: String,
    pub(crate) path: String,
    /// What was asked, where it is JSON.
    pub(crate) body: Value,
    pub(crate) status: u16,
}

impl Audit {
    /// Opens the file, or makes it for its owner alone.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        Ok(Self { file: Mutex::new(file), refused: Bucket::default() })
    }

    /// Keeps one verb.
    pub(crate) fn keep(
        &self,
        entry: &Entry,
        telemetry: &Telemetry,
        (now, wall): (Moment, SystemTime),
    ) {
        let (per_second, burst) = REFUSED;
        if entry.role.is_none() && self.refused.take(Rate::new(per_second, burst), now).is_err() {
            return;
        }
        let who = entry.role.map_or("nobody", Role::as_str);
        let from = entry.from.map_or_else(|| "unknown".to_owned(), |from| from.to_string());
        let path: String = entry.path.chars().take(LONGEST).collect();
        let reason = entry.body.get("reason").and_then(Value::as_str).unwrap_or_default();
        let line = json!({
            "time": humantime::format_rfc3339_millis(wall).to_string(),
            "who": who,
            "from": from,
            "method": entry.method,
            "path": path,
            "asked": entry.body,
            "reason": reason,
            "status": entry.status,
        });
        let mut text = line.to_string();
        text.push('\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(text.as_bytes()) {
            tracing::error!(%error, "the audit trail cannot be written");
        }
        drop(file);
        let cause = if reason.is_empty() { who.to_owned() } else { format!("{who}: {reason}") };
        telemetry.event(Event {
            kind: EventKind::Audit,
            subject: format!("{} {path}", entry.method),
            from,
            to: entry.status.to_string(),
            cause,
        });
    }
}

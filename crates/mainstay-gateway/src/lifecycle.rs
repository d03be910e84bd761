//! Another configuration from the file, and another binary: what SIGHUP, SIGUSR2 and the admin
//! listener ask for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mainstay_admin::{Later, Refused};
use mainstay_config::{Config, Digest, Fault, render_plain};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::handover::Successor;
use crate::reconfigure::Reconfigure;
use crate::service;

/// Between two looks at the files. A change is read when two looks in a row have seen the same: an
/// editor that writes in pieces has come to its end.
const LOOK: Duration = Duration::from_millis(500);

/// The hand on the process. All hands belong to the same one.
#[derive(Clone)]
pub struct Lifecycle(Arc<Inner>);

struct Inner {
    reconfigure: Reconfigure,
    /// Where the configuration was read; `None` where it was no file.
    file: Option<PathBuf>,
    successor: Successor,
    /// Set when another process serves in this one's place.
    left: watch::Sender<bool>,
}

impl Lifecycle {
    pub(crate) fn new(
        reconfigure: Reconfigure,
        file: Option<PathBuf>,
        successor: Successor,
    ) -> Self {
        let (left, _) = watch::channel(false);
        Self(Arc::new(Inner { reconfigure, file, successor, left }))
    }

    /// Reads the configuration's file again and puts it into effect, as a whole or not at all;
    /// `cause` says who asked for it. Gives the difference.
    ///
    /// # Errors
    /// Why everything goes on as before.
    pub async fn reload(&self, cause: &str) -> Result<Value, Refused> {
        service::reloading();
        let outcome = self.read_again(cause).await;
        service::serving(&self.0.reconfigure.config().version);
        outcome
    }

    async fn read_again(&self, cause: &str) -> Result<Value, Refused> {
        let Some(file) = &self.0.file else {
            return Err(Refused::new("the configuration was not read from a file"));
        };
        let path = file.clone();
        // The files may be on a disk that is slow.
        let read = tokio::task::spawn_blocking(move || Config::load(path)).await;
        match read.map_err(|panic| Refused::new(panic.to_string()))? {
            Ok(config) => self.apply(config, cause).await,
            Err(errors) => {
                let faults = errors.faults();
                self.0.reconfigure.refused(cause, &render_plain(faults));
                let why = format!("{} has {} errors", file.display(), faults.len());
                Err(Refused { why, faults: faults.iter().map(Fault::to_json).collect() })
            }
        }
    }

    async fn apply(&self, config: Config, cause: &str) -> Result<Value, Refused> {
        let version = config.version.clone();
        let warnings: Vec<_> = config.warnings.iter().map(Fault::to_json).collect();
        match self.0.reconfigure.apply(config, cause).await {
            Ok(difference) => Ok(json!({
                "version": version,
                "difference": difference,
                "text": difference.to_string(),
                "warnings": warnings,
            })),
            Err(error) => Err(Refused::new(crate::error::told(&error))),
        }
    }

    /// Starts the program's file anew with this process' sockets. When the new process is ready
    /// this one takes no more connections, finishes what it has, and ends.
    ///
    /// # Errors
    /// Why this process serves on.
    pub async fn upgrade(&self, cause: &str) -> Result<Value, Refused> {
        let started = self.0.successor.start().await;
        let told = match &started {
            Ok(pid) => ("handed over", format!("{cause}: process {pid} is ready")),
            Err(why) => ("upgrade refused", format!("{cause}: {why}")),
        };
        self.0.reconfigure.tell_process(told.0, &told.1);
        let pid = started.map_err(Refused::new)?;
        service::succeeded_by(pid);
        self.0.left.send_replace(true);
        Ok(json!({"pid": pid}))
    }

    /// Closes its copies of the listening sockets.
    pub(crate) fn close(&self) {
        self.0.successor.close();
    }

    /// Waits until another process serves in this one's place.
    pub(crate) async fn handed_over(&self) {
        let mut left = self.0.left.subscribe();
        if left.wait_for(|left| *left).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Reads the configuration again when its files change and it asks for that, for as long as it
    /// is polled. Looks at what the names lead to: an editor that puts a new file in the old one's
    /// place is seen, and a link that is turned to another folder.
    pub(crate) async fn watch(&self) {
        let Some(file) = &self.0.file else { return };
        let mut known = None;
        let mut last = None;
        loop {
            tokio::time::sleep(LOOK).await;
            let config = self.0.reconfigure.config();
            if !config.watch {
                known = None;
                continue;
            }
            let now = stamps(std::iter::once(file).chain(&config.files));
            // What changed before the first look changed after it was read, or the text is the same.
            let first = known.is_none() && self.has_other_text(&config).await;
            let before = known.get_or_insert_with(|| now.clone());
            if first || now != *before && last.as_ref() == Some(&now) {
                known = Some(now.clone());
                // What is wrong has been told of.
                let _told = self.reload("a file has changed").await;
            }
            last = Some(now);
        }
    }
}

impl Lifecycle {
    /// Whether the files say something else than what is in effect, or nothing that can be read.
    async fn has_other_text(&self, config: &Config) -> bool {
        let Some(file) = self.0.file.clone() else { return false };
        let read = tokio::task::spawn_blocking(move || Config::load(file)).await;
        !read.is_ok_and(|read| read.is_ok_and(|read| read.version == config.version))
    }
}

impl mainstay_admin::Lifecycle for Lifecycle {
    fn configuration(&self) -> Later<Value> {
        let config = self.0.reconfigure.file();
        Box::pin(async move { json!(Digest::of(&*config.await)) })
    }

    fn reload(&self) -> Later<Result<Value, Refused>> {
        let own = self.clone();
        Box::pin(async move { own.reload("an operator").await })
    }

    fn upgrade(&self) -> Later<Result<Value, Refused>> {
        let own = self.clone();
        Box::pin(async move { own.upgrade("an operator").await })
    }
}

/// What tells one content of a file from another, without reading it.
type Stamp = Option<(PathBuf, Option<SystemTime>, u64)>;

fn stamps<'p>(paths: impl Iterator<Item = &'p PathBuf>) -> BTreeMap<PathBuf, Stamp> {
    paths.map(|path| (path.clone(), stamp(path))).collect()
}

fn stamp(path: &Path) -> Stamp {
    let real = path.canonicalize().ok()?;
    let metadata = real.metadata().ok()?;
    Some((real, metadata.modified().ok(), metadata.len()))
}

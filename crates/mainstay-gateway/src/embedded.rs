//! Embedded models: loaded at the start, tried again when that failed, reloaded when the file
//! changes.
//!
//! A model that does not load makes its step unavailable and raises an alert; a new file that
//! does not load leaves the old model in service.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use mainstay_onnx::{Engine, Error, Model, Options};
use mainstay_telemetry::{Event, EventKind, Telemetry};

pub(crate) mod models;

/// How often files are looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(2);

/// One embedded model, shared by every step that uses its file.
#[derive(Debug)]
pub(crate) struct Embedded {
    /// `embedded:NAME`, after the file's name: who served, as answers say it.
    pub(crate) label: Arc<str>,
    pub(crate) path: PathBuf,
    /// Whether there is a model; the chain's plan reads it too.
    pub(crate) available: Arc<AtomicBool>,
    options: Options,
    model: ArcSwapOption<Model>,
    file: Mutex<File>,
}

/// What is known of the file.
#[derive(Debug, Default)]
struct File {
    /// The file that was last looked at.
    stamp: Option<Stamp>,
    /// Why that one did not load.
    problem: Option<String>,
}

/// What tells one version of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    len: u64,
}

impl Embedded {
    pub(crate) fn new(path: PathBuf, options: Options) -> Self {
        let stem = path.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned());
        Self {
            label: format!("embedded:{stem}").into(),
            path,
            available: Arc::default(),
            options,
            model: ArcSwapOption::empty(),
            file: Mutex::default(),
        }
    }

    /// Whether onnxruntime runs it.
    pub(crate) fn is_native(&self) -> bool {
        self.options.engine == Engine::OnnxRuntime
    }

    /// The model, if there is one.
    pub(crate) fn model(&self) -> Option<Arc<Model>> {
        self.model.load_full()
    }

    /// Why the newest file is not in service, if it is not.
    pub(crate) fn problem(&self) -> Option<String> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).problem.clone()
    }

    /// Loads the file, or tries again; the model that was there stays if that fails.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(crate) fn load(&self) -> Result<(), Error> {
        let stamp = self.stamp();
        let loaded = Model::load(&self.path, &self.options);
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.stamp = stamp;
        match loaded {
            Ok(model) => {
                self.model.store(Some(Arc::new(model)));
                self.available.store(true, Ordering::Relaxed);
                file.problem = None;
                Ok(())
            }
            Err(error) => {
                file.problem = Some(error.detail());
                Err(error)
            }
        }
    }

    /// Loads the file if it is another than the one that was looked at last, or if there is no
    /// model yet. Takes as long as loading takes: not for a data-path thread.
    pub(crate) fn refresh(&self, telemetry: &Telemetry) {
        let looked_at = self.file.lock().unwrap_or_else(PoisonError::into_inner).stamp;
        if looked_at == self.stamp() && self.available.load(Ordering::Relaxed) {
            return;
        }
        let before = (self.state(), self.problem());
        let cause = match self.load() {
            Ok(()) => "the file loads now".to_owned(),
            Err(error) => error.detail(),
        };
        if before != (self.state(), self.problem()) {
            self.tell(telemetry, before.0, cause);
        }
    }

    /// Tells of a change of this model, with its cause.
    pub(crate) fn tell(&self, telemetry: &Telemetry, before: &str, cause: String) {
        telemetry.event(Event {
            kind: EventKind::Step,
            subject: self.label.to_string(),
            from: before.to_owned(),
            to: self.state().to_owned(),
            cause,
        });
    }

    /// What the model is now, in one word.
    fn state(&self) -> &'static str {
        match (self.available.load(Ordering::Relaxed), self.problem().is_some()) {
            (true, false) => "loaded",
            (true, true) => "outdated",
            (false, _) => "unavailable",
        }
    }

    fn stamp(&self) -> Option<Stamp> {
        let metadata = std::fs::metadata(&self.path).ok()?;
        Some(Stamp { modified: metadata.modified().ok(), len: metadata.len() })
    }
}

//! The embedded models of a configuration, loaded before anything is made of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mainstay_config::{self as config, Config, Source};
use mainstay_onnx::{Engine, Options};

use super::Embedded;
use crate::error::Error;

/// Every embedded model of a configuration once.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// By file, and by whether onnxruntime runs it.
    pub(crate) models: BTreeMap<(PathBuf, bool), Arc<Embedded>>,
    /// New ones that do not load, and why not.
    pub(crate) failed: Vec<(Arc<Embedded>, mainstay_onnx::Error)>,
}

impl Loaded {
    /// The model of a step.
    pub(crate) fn get(&self, path: &Path, engine: config::Engine) -> Option<Arc<Embedded>> {
        self.models.get(&(path.to_path_buf(), is_native(engine))).cloned()
    }

    /// Where none may fail to load.
    pub(crate) fn refuse_failed(&mut self) -> Result<(), Error> {
        match self.failed.pop() {
            Some((model, source)) => Err(Error::EmbeddedModel { path: model.path.clone(), source }),
            None => Ok(()),
        }
    }
}

/// Takes over what is in service already, and loads the rest. Takes as long as loading takes.
pub(crate) fn load(config: &Config, known: &[Arc<Embedded>]) -> Loaded {
    let mut loaded = Loaded::default();
    for (path, engine) in named(config) {
        let key = (path.to_path_buf(), is_native(engine));
        if loaded.models.contains_key(&key) {
            continue;
        }
        let same = known.iter().find(|it| it.path == path && it.is_native() == key.1);
        let model = same.map_or_else(|| unloaded(config, path, engine), Arc::clone);
        if same.is_none()
            && let Err(problem) = model.load()
        {
            loaded.failed.push((Arc::clone(&model), problem));
        }
        loaded.models.insert(key, model);
    }
    loaded
}

/// Whether nothing would have to be loaded.
pub(crate) fn are_known(config: &Config, known: &[Arc<Embedded>]) -> bool {
    named(config).all(|(path, engine)| {
        known.iter().any(|it| it.path == path && it.is_native() == is_native(engine))
    })
}

/// A model that was not loaded yet.
pub(crate) fn unloaded(config: &Config, path: &Path, engine: config::Engine) -> Arc<Embedded> {
    let library = config.embedded.library.clone();
    let engine = if is_native(engine) { Engine::OnnxRuntime } else { Engine::Tract };
    Arc::new(Embedded::new(path.to_path_buf(), Options { engine, library }))
}

/// A chain of nothing but models that do not load could never answer.
pub(crate) fn refuse_empty(config: &Config, loaded: &Loaded) -> Result<(), Error> {
    let is_missing = |step: &config::Step| match &step.source {
        Source::Embedded { path, engine } => {
            loaded.get(path, *engine).is_none_or(|model| model.model().is_none())
        }
        _ => false,
    };
    match config.models.iter().find(|model| model.chain.iter().all(is_missing)) {
        Some(model) => Err(Error::EmptyChain { model: model.name.to_string() }),
        None => Ok(()),
    }
}

fn named(config: &Config) -> impl Iterator<Item = (&Path, config::Engine)> {
    let steps = config.models.iter().flat_map(|model| &model.chain);
    steps.filter_map(|step| match &step.source {
        Source::Embedded { path, engine } => Some((path.as_path(), *engine)),
        _ => None,
    })
}

fn is_native(engine: config::Engine) -> bool {
    engine == config::Engine::OnnxRuntime
}

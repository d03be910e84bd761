//! The models of the server: which there are, and whether they can answer.
//!
//! ```text
//! Unloaded ──load──▶ Loading ──ok──▶ Ready ──unload──▶ Unloaded
//!                       └──failed──▶ Failed ──load──▶ Loading
//! ```
//! A model that is ready stays so while it is loaded again, and when that fails.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use mainstay_onnx::Model;
use mainstay_protocol::oip::repository::{self, Entry};

use crate::{Error, VERSION};

/// What a model is doing.
#[derive(Clone, Debug)]
enum State {
    Unloaded,
    Loading,
    Ready(Arc<Model>),
    Failed(String),
}

/// Why there is no model to answer with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// No model of this name; the server has these.
    Unknown { known: Vec<String> },
    /// The model has another version.
    Version,
    /// The model cannot answer, for this reason.
    NotReady(String),
}

#[derive(Debug)]
struct Slot {
    path: PathBuf,
    state: RwLock<State>,
}

/// The models by name.
#[derive(Debug)]
pub(crate) struct Repository {
    slots: BTreeMap<String, Slot>,
    engine: mainstay_onnx::Options,
}

impl Repository {
    /// A repository of models that are not loaded yet.
    pub(crate) fn new(
        models: Vec<(String, PathBuf)>,
        engine: mainstay_onnx::Options,
    ) -> Result<Self, Error> {
        if models.is_empty() {
            return Err(Error::NoModels);
        }
        let mut slots = BTreeMap::new();
        for (name, path) in models {
            let slot = Slot { path, state: RwLock::new(State::Unloaded) };
            if slots.insert(name.clone(), slot).is_some() {
                return Err(Error::Duplicate(name));
            }
        }
        Ok(Self { slots, engine })
    }

    /// Loads every model, one after the other.
    pub(crate) fn load_all(&self) {
        for slot in self.slots.values() {
            // A failure is kept in the slot, where the index and the answers find it.
            drop(slot.load(&self.engine));
        }
    }

    /// Loads or reloads a model. This blocks for as long as the engine takes.
    pub(crate) fn load(&self, name: &str) -> Result<(), Absent> {
        self.slot(name)?.load(&self.engine).map_err(Absent::NotReady)
    }

    /// Takes a model out of service; requests that have it already are still answered.
    pub(crate) fn unload(&self, name: &str) -> Result<(), Absent> {
        self.slot(name)?.set(State::Unloaded);
        Ok(())
    }

    /// The model, if it is ready; `version` must be ours, if it is asked for.
    pub(crate) fn ready(&self, name: &str, version: Option<&str>) -> Result<Arc<Model>, Absent> {
        let slot = self.slot(name)?;
        if version.is_some_and(|version| version != VERSION) {
            return Err(Absent::Version);
        }
        match slot.state() {
            State::Ready(model) => Ok(model),
            State::Unloaded => Err(Absent::NotReady("it is unloaded".to_owned())),
            State::Loading => Err(Absent::NotReady("it is being loaded".to_owned())),
            State::Failed(reason) => Err(Absent::NotReady(reason)),
        }
    }

    /// Whether every model can answer, but for those that were unloaded on purpose.
    pub(crate) fn all_ready(&self) -> bool {
        let fine = |slot: &Slot| matches!(slot.state(), State::Ready(_) | State::Unloaded);
        self.slots.values().all(fine)
    }

    /// Every model with its state.
    pub(crate) fn index(&self) -> Vec<Entry> {
        self.slots.iter().map(|(name, slot)| entry(name, &slot.state())).collect()
    }

    /// The models that could not be loaded, with the reasons.
    pub(crate) fn failed(&self) -> Vec<(String, String)> {
        let failed = |(name, slot): (&String, &Slot)| match slot.state() {
            State::Failed(reason) => Some((name.clone(), reason)),
            State::Unloaded | State::Loading | State::Ready(_) => None,
        };
        self.slots.iter().filter_map(failed).collect()
    }

    fn slot(&self, name: &str) -> Result<&Slot, Absent> {
        let known = || Absent::Unknown { known: self.slots.keys().cloned().collect() };
        self.slots.get(name).ok_or_else(known)
    }
}

impl Slot {
    fn load(&self, engine: &mainstay_onnx::Options) -> Result<(), String> {
        if !matches!(self.state(), State::Ready(_)) {
            self.set(State::Loading);
        }
        // An engine that panics over a file must not take the other models with it.
        let loaded = catch_unwind(AssertUnwindSafe(|| Model::load(&self.path, engine)));
        let reason = match loaded {
            Ok(Ok(model)) => {
                self.set(State::Ready(Arc::new(model)));
                return Ok(());
            }
            Ok(Err(error)) => error.detail(),
            Err(panic) => format!("the engine panicked: {}", panic_message(&*panic)),
        };
        if !matches!(self.state(), State::Ready(_)) {
            self.set(State::Failed(reason.clone()));
        }
        Err(reason)
    }

    fn state(&self) -> State {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, state: State) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}

fn entry(name: &str, state: &State) -> Entry {
    let (state, reason) = match state {
        State::Ready(_) => (repository::State::Ready, ""),
        State::Loading => (repository::State::Loading, ""),
        State::Unloaded => (repository::State::Unavailable, "unloaded"),
        State::Failed(reason) => (repository::State::Unavailable, reason.as_str()),
    };
    Entry {
        name: name.to_owned(),
        version: VERSION.to_owned(),
        state: Some(state),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken() -> Repository {
        let models = vec![("a".to_owned(), PathBuf::from("/nowhere/a.onnx"))];
        Repository::new(models, mainstay_onnx::Options::default()).unwrap()
    }

    #[test]
    fn names_are_given_once() {
        let model = ("a".to_owned(), PathBuf::new());
        let twice = Repository::new(vec![model.clone(), model], mainstay_onnx::Options::default());
        assert!(matches!(twice, Err(Error::Duplicate(name)) if name == "a"));
        let none = Repository::new(vec![], mainstay_onnx::Options::default());
        assert!(matches!(none, Err(Error::NoModels)));
    }

    #[test]
    fn a_model_that_fails_says_why_until_it_is_unloaded() {
        let repository = broken();
        assert!(repository.all_ready());
        repository.load_all();
        assert!(!repository.all_ready());
        let [(name, reason)] = repository.failed().try_into().unwrap();
        assert_eq!(name, "a");
        assert!(reason.contains("/nowhere/a.onnx"), "{reason}");
        assert_eq!(repository.index()[0].state, Some(repository::State::Unavailable));
        assert_eq!(repository.index()[0].reason, reason);
        assert_eq!(repository.ready("a", None).unwrap_err(), Absent::NotReady(reason));
        repository.unload("a").unwrap();
        assert!(repository.all_ready());
    }

    #[test]
    fn unknown_names_and_versions_are_told_apart() {
        let repository = broken();
        let known = vec!["a".to_owned()];
        assert_eq!(repository.ready("b", None).unwrap_err(), Absent::Unknown { known });
        assert_eq!(repository.ready("a", Some("2")).unwrap_err(), Absent::Version);
        assert!(matches!(repository.ready("a", Some("1")), Err(Absent::NotReady(_))));
    }
}

//! What the numbers in records and counters stand for.

use std::fmt;
use std::sync::Arc;

/// The names behind the indexes of a [`crate::Record`]; fixed for the life of a
/// [`crate::Telemetry`], so that its memory is too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Models, in the order of the configuration.
    pub models: Vec<Arc<str>>,
    /// For each model, the names of its chain's steps: a pool's, `embedded`, `default`.
    pub steps: Vec<Vec<Arc<str>>>,
    /// Targets, by their number in the registry.
    pub targets: Vec<TargetName>,
    /// The numbers of those that are asked golden requests.
    pub golden: Vec<u32>,
}

impl Names {
    /// The name of a model, or `None` for `u16::MAX` (no model was recognised).
    #[must_use]
    pub fn model(&self, model: u16) -> Option<&Arc<str>> {
        self.models.get(usize::from(model))
    }

    /// The name of a step, or `None` for `u8::MAX` (no step answered).
    #[must_use]
    pub fn step(&self, model: u16, step: u8) -> Option<&Arc<str>> {
        self.steps.get(usize::from(model))?.get(usize::from(step))
    }

    /// The name of a target.
    #[must_use]
    pub fn target(&self, target: u32) -> Option<&TargetName> {
        self.targets.get(usize::try_from(target).ok()?)
    }
}

/// One model at one endpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetName {
    /// The pool's name.
    pub pool: Arc<str>,
    /// The endpoint's name within its pool.
    pub endpoint: Arc<str>,
    /// The model's name upstream.
    pub model: Arc<str>,
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.pool, self.endpoint, self.model)
    }
}

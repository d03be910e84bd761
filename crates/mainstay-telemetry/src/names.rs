//! What the numbers in records and counters stand for.
//!
//! A model keeps its number for as long as the gateway lives, since records and counters go by it;
//! one whose chain has other steps than before is given another. A target's number is used again
//! when its target is gone, so its name holds from a moment on.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use mainstay_policy::Moment;

/// The names that a gateway begins with.
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

/// A model with the steps of its chain, as they are counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// The model's name.
    pub model: Arc<str>,
    /// The names of its chain's steps.
    pub steps: Vec<Arc<str>>,
}

/// What a configuration names, by the numbers of its models and targets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The numbers of its models, in its order.
    pub models: Vec<u16>,
    /// Its targets with their numbers in the registry.
    pub targets: Vec<(u32, TargetName)>,
    /// The numbers of those that are asked golden requests.
    pub golden: Vec<u32>,
}

/// The names behind the numbers of a [`crate::Record`].
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// By number, also of those that no configuration names any more.
    shapes: Vec<Shape>,
    numbers: HashMap<Shape, u16>,
    /// The models of the configuration.
    models: Vec<u16>,
    targets: Vec<Option<Named>>,
    golden: Vec<u32>,
}

/// A target's name.
#[derive(Clone, Debug)]
struct Named {
    name: TargetName,
    /// From when on the number stands for it.
    since: Moment,
    /// Whether the configuration has it still.
    shown: bool,
}

impl Catalog {
    /// The name of a model, or `None` for `u16::MAX` (no model was recognised).
    #[must_use]
    pub fn model(&self, model: u16) -> Option<&Arc<str>> {
        Some(&self.shapes.get(usize::from(model))?.model)
    }

    /// The name of a step, or `None` for `u8::MAX` (no step answered).
    #[must_use]
    pub fn step(&self, model: u16, step: u8) -> Option<&Arc<str>> {
        self.shapes.get(usize::from(model))?.steps.get(usize::from(step))
    }

    /// The name of a target, for a record of this moment; `None` where the number belonged to
    /// another one then.
    #[must_use]
    pub fn target(&self, target: u32, at: Moment) -> Option<&TargetName> {
        let named = self.targets.get(usize::try_from(target).ok()?)?.as_ref()?;
        (named.since <= at).then_some(&named.name)
    }

    /// The targets of the configuration with their numbers.
    pub(crate) fn targets(&self) -> impl Iterator<Item = (usize, &TargetName)> {
        let named = self.targets.iter().enumerate();
        named
            .filter_map(|(at, named)| Some((at, named.as_ref()?)))
            .filter(|(_, named)| named.shown)
            .map(|(at, named)| (at, &named.name))
    }

    /// The targets of the configuration that are asked golden requests.
    pub(crate) fn golden(&self) -> impl Iterator<Item = (u32, &TargetName)> {
        let named = |target: u32| self.targets.get(target as usize)?.as_ref();
        self.golden.iter().filter_map(move |target| Some((*target, &named(*target)?.name)))
    }

    /// The models of the configuration, each with the numbers that its name has had, the present
    /// one first.
    pub(crate) fn models(&self) -> impl Iterator<Item = (&Shape, Vec<u16>)> {
        let mut alike: HashMap<&str, Vec<u16>> = HashMap::new();
        for (shape, number) in self.shapes.iter().zip(0..) {
            alike.entry(&shape.model).or_default().push(number);
        }
        self.models.iter().filter_map(move |number| {
            let shape = self.shapes.get(usize::from(*number))?;
            let others = alike.get(&*shape.model).into_iter().flatten();
            let others = others.copied().filter(|other| other != number);
            Some((shape, [*number].into_iter().chain(others).collect()))
        })
    }

    /// Every number that a model's name has had.
    pub(crate) fn alike(&self, model: u16) -> Vec<u16> {
        let Some(name) = self.model(model) else { return vec![model] };
        let numbers = self.shapes.iter().zip(0..).filter(|(shape, _)| shape.model == *name);
        numbers.map(|(_, number)| number).collect()
    }

    /// The number of a model, and whether it is a new one. `None` beyond what records have room
    /// for.
    pub(crate) fn number(&mut self, shape: &Shape) -> (Option<u16>, bool) {
        if let Some(number) = self.numbers.get(shape) {
            return (Some(*number), false);
        }
        let number = u16::try_from(self.shapes.len()).ok().filter(|number| *number < u16::MAX);
        let Some(number) = number else { return (None, false) };
        self.shapes.push(shape.clone());
        self.numbers.insert(shape.clone(), number);
        (Some(number), true)
    }

    /// Names what a configuration has; gives the numbers of targets that stood for others before.
    pub(crate) fn show(&mut self, shown: Shown, now: Moment) -> Vec<usize> {
        let mut reused = Vec::new();
        self.targets.iter_mut().flatten().for_each(|named| named.shown = false);
        for (target, name) in shown.targets {
            let at = target as usize;
            if self.targets.len() <= at {
                self.targets.resize_with(at + 1, || None);
            }
            match &mut self.targets[at] {
                Some(named) if named.name == name => named.shown = true,
                place => {
                    reused.extend(place.is_some().then_some(at));
                    *place = Some(Named { name, since: now, shown: true });
                }
            }
        }
        (self.models, self.golden) = (shown.models, shown.golden);
        reused
    }

    /// The highest number of a target, and one.
    pub(crate) fn target_room(&self) -> usize {
        self.targets.len()
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

//! Models: what clients ask for by name, and the chain of sources that answers.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use mainstay_policy::chain::{Causes, LastResort};
use mainstay_policy::limit::Priority;
use mainstay_policy::{poison, rehearsal, sequence};
use mainstay_protocol::oip::path::stays_put;
use mainstay_protocol::oip::{agreement, confidence, guard};
use mainstay_protocol::{Tensor, TensorSpec};

use super::Concurrency;

/// A route by name, with a deadline and a fallback chain.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Model {
    /// The name in the client's path; `*` stands for any name that no other model has.
    pub name: Arc<str>,
    /// For everything that is done for one request. Default 10 s, far too long for most models:
    /// set it to what your callers can wait.
    pub deadline: Duration,
    /// The input tensors, in the order of the file; empty when not declared.
    pub inputs: Vec<TensorSpec>,
    /// The output tensors, in the order of the file; empty when not declared.
    pub outputs: Vec<TensorSpec>,
    /// Whether the first dimension of every input and output is the batch, so that rows may be
    /// split and merged. Default false: a request is one row.
    pub batch: bool,
    /// The paths of plain HTTP under which it is asked; only for pools of that.
    pub paths: Vec<PathRule>,
    /// The methods that it takes there; none stands for any.
    pub methods: Vec<Method>,
    /// The sources, best first; at least one.
    pub chain: Vec<Step>,
    /// What every answer must keep to, but for defaults, which were held against it already.
    pub guards: Guards,
    /// What happens when nobody is left in a pool. Default the next step.
    pub last_resort: LastResort,
    /// Requests that may wait for somebody to come back. Default 1000.
    pub last_resort_queue: usize,
    /// What is answered when no step was good enough. Default the best answer.
    pub exhausted: Exhausted,
    /// Whether answers of lesser quality are allowed. Default allowed.
    pub degrade: Degrade,
    /// Whether a request that may have been executed may be sent again. Default true, since
    /// inference changes nothing; false for plain HTTP, where only methods that promise it are.
    pub repeatable: bool,
    /// Network attempts for one request, over all pools. Default 3.
    pub attempts: u8,
    /// How many requests are served at once, and how many wait.
    pub concurrency: Concurrency,
    /// How much its requests matter; `None` leaves it to the listener.
    pub priority: Option<Priority>,
    /// How answers are remembered for idempotency keys. Default `None`: the header is passed on
    /// and means nothing here.
    pub idempotency: Option<Idempotency>,
    /// When a request is taken to be poison; `None` is off.
    pub poison: Option<poison::Settings>,
    /// How later steps and standbys are tried out before they are needed. Default `None`: off,
    /// since servers would see requests that nobody told them of.
    pub rehearsal: Option<Rehearsal>,
    /// Its sequences; `None` where each request stands alone. Default none.
    pub sequence: Option<Sequence>,
    /// Whether another server goes on with a stream that was cut. Default false.
    pub continues: bool,
}

/// Requests that belong together, in order, at one server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sequence {
    /// How a sequence is known.
    pub by: SequenceBy,
    /// How sequences are kept.
    pub settings: sequence::Settings,
}

/// How a sequence is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SequenceBy {
    /// By Triton's parameters `sequence_id`, `sequence_start` and `sequence_end`.
    SequenceId,
    /// By the value of this header; each new value begins one.
    Header(HeaderName),
}

/// Answers are remembered for requests with an Idempotency-Key header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Idempotency {
    /// How long an answer is given again. Default 60 s: clients that repeat a request do so
    /// within seconds.
    pub remember: Duration,
}

/// How fallbacks are tried out before they are needed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Rehearsal {
    /// How often, and what is an alert.
    pub settings: rehearsal::Settings,
    /// How far numbers may lie from those of the source in use.
    pub tolerance: agreement::Tolerance,
}

/// The last good answers of servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastGood {
    /// An older one is none. Default 10 min.
    pub max_age: Duration,
    /// Whether callers get what others got. Default false: an answer may depend on who asks, and
    /// a server that would refuse a caller must not be answered for.
    pub shared: bool,
}

/// Default of [`LastGood::max_age`].
pub(crate) const LAST_GOOD_AGE: Duration = Duration::from_secs(600);
/// Default of [`Model::deadline`].
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
/// Default of [`Idempotency::remember`].
pub(crate) const REMEMBER: Duration = Duration::from_secs(60);
/// Default of [`Model::last_resort_queue`].
pub(crate) const LAST_RESORT_QUEUE: usize = 1000;
/// Default of [`Model::attempts`].
pub(crate) const ATTEMPTS: u8 = 3;

/// What every answer must keep to.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Guards {
    /// What each answer shows by itself. Default nothing.
    pub each: guard::Guards,
    /// What only a row of answers shows. Default off.
    pub constant: Option<guard::constant::Settings>,
}

impl Guards {
    /// Whether answers need not be looked into.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.each.is_empty() && self.constant.is_none()
    }
}

/// One source in a chain.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Step {
    /// Who answers.
    pub source: Source,
    /// What the answer must reach to count; `None` takes every answer.
    pub confidence: Option<confidence::Rule>,
    /// The failures after which it is asked. Default all that move on.
    pub causes: Causes,
}

/// Who answers in a step.
#[derive(Clone, Debug)]
pub enum Source {
    /// A pool of servers.
    Pool {
        /// Index in [`Config::pools`](crate::Config::pools).
        pool: usize,
        /// The name upstream; `None` keeps the client's.
        model: Option<Arc<str>>,
        /// The version upstream; `None` keeps the client's.
        version: Option<Arc<str>>,
        /// Of the same quality as the first step: its answers are not degraded.
        equivalent: bool,
    },
    /// An ONNX model inside the process.
    Embedded {
        /// The file, made absolute or relative to the working directory.
        path: PathBuf,
        /// Who runs it.
        engine: Engine,
    },
    /// The last good answer of servers to the same inputs.
    LastGood(LastGood),
    /// A fixed prediction.
    Default {
        /// One row of each declared output, typed by it: the first dimension is 1.
        outputs: Vec<Tensor>,
    },
    /// A fixed answer in a protocol without tensors.
    Fixed(Fixed),
}

/// One and the same body for everybody, with status 200.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fixed {
    /// The whole body.
    pub body: Bytes,
    /// What it is. Default `application/json`, or `text/plain` for a body that is a text.
    pub content_type: HeaderValue,
}

impl Fixed {
    /// A body of this type.
    #[must_use]
    pub const fn new(body: Bytes, content_type: HeaderValue) -> Self {
        Self { body, content_type }
    }
}

/// A path, or all paths that begin with one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathRule {
    text: Arc<str>,
    /// All that begin with the text.
    below: bool,
}

impl PathRule {
    /// From `/score`, or `/score/*` for all paths below; `None` where it is neither.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (path, below) = match text.strip_suffix('*') {
            Some(path) => (path, true),
            None => (text, false),
        };
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"*?#%\\".contains(&byte);
        let ends = !below || path.ends_with('/');
        let sound = path.starts_with('/') && ends && path.bytes().all(plain) && stays_put(path);
        sound.then(|| Self { text: Arc::from(path), below })
    }

    /// Whether it is about this path.
    #[must_use]
    pub fn holds(&self, path: &str) -> bool {
        if self.below { path.starts_with(&*self.text) } else { path == &*self.text }
    }

    /// The more there is of it, the earlier it is asked.
    #[must_use]
    pub fn order(&self) -> (usize, bool) {
        (self.text.len(), !self.below)
    }
}

impl fmt::Display for PathRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.text, if self.below { "*" } else { "" })
    }
}

/// Who runs an embedded model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// Pure Rust, nothing to install.
    #[default]
    Tract,
    /// The shared library of [`EmbeddedPool::library`](crate::EmbeddedPool::library).
    OnnxRuntime,
}

/// What is answered when every step was tried and none was good enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exhausted {
    /// The most confident answer that came; the default step only when none came at all.
    #[default]
    BestAnswer,
    /// The chain's default step, whatever answers of too little confidence came.
    Default,
    /// An error.
    Error,
}

/// Whether answers of lesser quality are allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Degrade {
    /// Yes, and marked.
    #[default]
    Allowed,
    /// No: only the first step and those declared equivalent.
    Never,
}

//! The second engine: onnxruntime, from a shared library loaded at run time.
//!
//! For models that tract cannot run. The library (from the PyPI wheel `onnxruntime`, or built by
//! the user) stays outside the program: it is large, and most users never need it. It knows one
//! environment for each process, so the first library loaded is the only one.
//!
//! A session takes `&mut self` to run, so each model has a few and a call takes one that is free.
//! Each computes on the calling thread alone: the executor decides how many threads there are,
//! and onnxruntime's own would spin on cores that serve connections.

mod convert;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;

use mainstay_protocol::tensor::{Tensor, TensorSpec};
use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::Session;
use ort::value::{Outlet, ValueType};
use prost::Message;

use crate::Error;
use crate::graph::Graph;

/// The most sessions that a model gets: more calls at once than this wait for each other.
const SESSIONS: usize = 4;

/// The library and its environment, once loaded. onnxruntime allows one in a process.
static LOADED: Mutex<Option<(PathBuf, Environment)>> = Mutex::new(None);

/// A model prepared by onnxruntime.
#[derive(Debug)]
pub(crate) struct OnnxRuntime {
    sessions: Vec<Mutex<Session>>,
}

impl OnnxRuntime {
    /// Prepares the graph with the library; also says what the outputs are.
    pub(crate) fn load(
        path: &Path,
        graph: &Graph,
        library: Option<&Path>,
    ) -> Result<(Self, Vec<TensorSpec>), Error> {
        let environment = environment(library)?;
        // Unchanged models are read by onnxruntime itself, which then finds weights kept in files
        // beside the model.
        let rewritten = graph.rewritten.then(|| graph.proto.encode_to_vec());
        let sessions: Vec<_> = (0..sessions())
            .map(|_| session(&environment, path, rewritten.as_deref()))
            .collect::<Result<_, _>>()
            .map_err(|cause| Error::Load { path: path.to_owned(), source: Box::new(cause) })?;
        let outputs = sessions
            .first()
            .map_or(&[][..], Session::outputs)
            .iter()
            .map(|outlet| output(path, outlet))
            .collect::<Result<_, _>>()?;
        let sessions = sessions.into_iter().map(Mutex::new).collect();
        Ok((Self { sessions }, outputs))
    }

    /// Runs the model on tensors that fit it.
    pub(crate) fn run(
        &self,
        inputs: &[Cow<'_, Tensor>],
        outputs: &[TensorSpec],
    ) -> Result<Vec<Tensor>, Error> {
        let given = inputs
            .iter()
            .map(|tensor| convert::to_native(tensor))
            .collect::<Result<Vec<_>, _>>()?;
        let failed = |cause: ort::Error| Error::Run(Box::new(cause));
        let mut session = self.session();
        let answers = session.run(given.as_slice()).map_err(failed)?;
        outputs
            .iter()
            .zip(answers.values())
            .map(|(spec, answer)| convert::from_native(&spec.name, &answer).map_err(failed))
            .collect()
    }

    /// A session that is free, or else the first, once it is. A session whose call panicked is
    /// not broken: the panic came from this side of the library.
    fn session(&self) -> MutexGuard<'_, Session> {
        self.sessions
            .iter()
            .find_map(|session| match session.try_lock() {
                Ok(free) => Some(free),
                Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            })
            .unwrap_or_else(|| self.sessions[0].lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn sessions() -> usize {
    thread::available_parallelism().map_or(1, |cores| cores.get().min(SESSIONS))
}

fn session(
    environment: &Environment,
    path: &Path,
    rewritten: Option<&[u8]>,
) -> Result<Session, ort::Error> {
    // What it would log on its own also comes back as an error, or is about the model's author.
    let mut builder = Session::builder(environment)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .with_log_level(LogLevel::Fatal)?;
    match rewritten {
        Some(bytes) => builder.commit_from_memory(bytes),
        None => builder.commit_from_file(path),
    }
}

fn output(path: &Path, outlet: &Outlet) -> Result<TensorSpec, Error> {
    let unsupported = |problem: String| Error::Unsupported {
        path: path.to_owned(),
        tensor: outlet.name().to_owned(),
        problem,
    };
    let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else {
        return Err(unsupported("it is not a tensor".to_owned()));
    };
    let datatype = convert::datatype(*ty)
        .ok_or_else(|| unsupported(format!("{ty:?} has no name in the protocol")))?;
    let shape = shape.iter().map(|size| usize::try_from(*size).ok()).collect();
    Ok(TensorSpec { name: outlet.name().to_owned(), datatype, shape })
}

/// Loads the library, or gives its environment if it is loaded.
fn environment(library: Option<&Path>) -> Result<Environment, Error> {
    let refused = |problem: String| Error::Library { problem };
    let library = library.ok_or_else(|| {
        refused("no path is set; it is libonnxruntime.so of the PyPI package onnxruntime".into())
    })?;
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    match &*loaded {
        Some((path, environment)) if path == library => return Ok(environment.clone()),
        Some((path, _)) => {
            return Err(refused(format!(
                "{} is loaded already, and a process can use but one",
                path.display()
            )));
        }
        None => {}
    }
    let environment = ort::init_from(library)
        .map_err(|cause| refused(cause.to_string()))?
        .with_telemetry(false)
        .build()
        .map_err(|cause| refused(cause.to_string()))?;
    *loaded = Some((library.to_owned(), environment.clone()));
    Ok(environment)
}

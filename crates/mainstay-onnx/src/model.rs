//! A loaded model: what it takes, what it gives, and a call.
//!
//! Everything that can be said about a request without running the model is said here, for both
//! engines alike: a missing or unknown input, a datatype or a shape that does not fit are the
//! client's faults, and the message names the input. What passes goes to the engine, whose
//! failures are the model's.

mod inputs;

use std::path::{Path, PathBuf};

use mainstay_protocol::tensor::{Tensor, TensorSpec};

use crate::Error;
use crate::graph::{Graph, Input};
use crate::tract::Tract;

/// The largest model file that is read, in bytes: 1 GiB. A fallback that runs inside a gateway is
/// far smaller; weights kept in files beside the model do not count.
pub const FILE_LIMIT: u64 = 1 << 30;

/// What runs the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// tract, in the program.
    #[default]
    Tract,
    /// A libonnxruntime shared library, loaded at run time.
    OnnxRuntime,
}

/// How to load a model.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The engine; tract by default.
    pub engine: Engine,
    /// The path of libonnxruntime; only [`Engine::OnnxRuntime`] needs it, and a process can use
    /// but one.
    pub library: Option<PathBuf>,
}

/// A model ready to run from any thread; share it in an `Arc`.
#[derive(Debug)]
pub struct Model {
    inputs: Vec<TensorSpec>,
    declared: Vec<Input>,
    outputs: Vec<TensorSpec>,
    runner: Runner,
}

/// The engine with the model in it.
#[derive(Debug)]
enum Runner {
    Tract(Tract),
    #[cfg(feature = "onnxruntime")]
    OnnxRuntime(crate::runtime::OnnxRuntime),
}

impl Model {
    /// Reads the model in `path` and prepares it. This takes from milliseconds to seconds and
    /// blocks: keep it off the threads that serve.
    ///
    /// # Errors
    /// The file cannot be read or is no model; an operator is missing (the error names it); an
    /// input or output is no tensor; the engine or its library refuses.
    pub fn load(path: &Path, options: &Options) -> Result<Self, Error> {
        let graph = Graph::read(path)?;
        let declared = graph.inputs.clone();
        let (runner, outputs) = prepare(path, &graph, options)?;
        let inputs = declared.iter().map(|input| input.spec.clone()).collect();
        Ok(Self { inputs, declared, outputs, runner })
    }

    /// What the model takes, in its own order.
    #[must_use]
    pub fn inputs(&self) -> &[TensorSpec] {
        &self.inputs
    }

    /// What the model gives, in its own order.
    #[must_use]
    pub fn outputs(&self) -> &[TensorSpec] {
        &self.outputs
    }

    /// Runs the model on the calling thread. `inputs` are matched by name, in any order. Numbers
    /// of another datatype are converted where that changes no value that matters: FP64 to FP32,
    /// narrower integers to wider ones, small integers to floats.
    ///
    /// # Errors
    /// [`Error::BadInput`] for the caller's faults, [`Error::Run`] for the model's.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
        let inputs = inputs::fit(&self.declared, inputs)?;
        match &self.runner {
            Runner::Tract(engine) => engine.run(&inputs, &self.outputs),
            #[cfg(feature = "onnxruntime")]
            Runner::OnnxRuntime(engine) => engine.run(&inputs, &self.outputs),
        }
    }
}

fn prepare(
    path: &Path,
    graph: &Graph,
    options: &Options,
) -> Result<(Runner, Vec<TensorSpec>), Error> {
    match options.engine {
        Engine::Tract => {
            let (engine, outputs) = Tract::load(path, graph)?;
            Ok((Runner::Tract(engine), outputs))
        }
        #[cfg(feature = "onnxruntime")]
        Engine::OnnxRuntime => {
            let library = options.library.as_deref();
            let (engine, outputs) = crate::runtime::OnnxRuntime::load(path, graph, library)?;
            Ok((Runner::OnnxRuntime(engine), outputs))
        }
        #[cfg(not(feature = "onnxruntime"))]
        Engine::OnnxRuntime => Err(Error::Library {
            problem: "this program was built without the feature onnxruntime".to_owned(),
        }),
    }
}

//! What can go wrong with an embedded model, and who is at fault.
//!
//! The gateway answers a client's fault with 400 and leaves the step alone; a model's fault makes
//! the step fail and the chain go on; a full queue is neither: the step is busy.

use std::path::PathBuf;

/// The cause of a failure inside an engine, in the engine's own words.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Who has to change something for the call to succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The inputs do not fit the model: the caller's.
    Client,
    /// The model, its file, or the engine.
    Model,
    /// Nobody's: the executor is full, try later or elsewhere.
    Busy,
}

/// Why a model could not be loaded or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model's file cannot be read.
    #[error("cannot read the model file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The model's file is larger than [`crate::model::FILE_LIMIT`].
    #[error("the model file {} has {size} bytes; at most {limit} are read", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The file is not an ONNX model.
    #[error("{} is not an ONNX model", path.display())]
    NotOnnx {
        /// The file.
        path: PathBuf,
        /// What the decoder says.
        #[source]
        source: Cause,
    },
    /// The engine has no implementation of some of the model's operators.
    #[error(
        "{} needs operators that this engine does not have: {}; engine: onnxruntime may have them",
        path.display(),
        operators.join(", ")
    )]
    MissingOperators {
        /// The file.
        path: PathBuf,
        /// The operators' names, sorted, each once.
        operators: Vec<String>,
    },
    /// The model has an input or output that is no tensor the protocol knows.
    #[error("{} has an unsupported input or output {tensor:?}: {problem}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The input or output.
        tensor: String,
        /// Why it cannot be served.
        problem: String,
    },
    /// The engine refused the model; the cause names the node and operator.
    #[error("{} cannot be loaded", path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// What the engine says.
        #[source]
        source: Cause,
    },
    /// libonnxruntime is not set, cannot be loaded, or another one is loaded already.
    #[error("cannot load the onnxruntime library: {problem}")]
    Library {
        /// What is wrong and what to do.
        problem: String,
    },
    /// An input is missing, unknown, or does not fit the model.
    #[error("input {tensor:?} {problem}")]
    BadInput {
        /// The input's name.
        tensor: String,
        /// What is wrong with it, to be read after its name.
        problem: String,
    },
    /// The model failed while it ran on inputs that fit its declaration.
    #[error("the model failed")]
    Run(#[source] Cause),
    /// The model panicked; the thread that ran it lives on.
    #[error("the model panicked: {0}")]
    Panicked(String),
    /// The executor's queue is full.
    #[error("the queue for embedded models is full ({0} waiting)")]
    QueueFull(usize),
}

impl Error {
    /// Who is at fault.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::BadInput { .. } => Fault::Client,
            Self::QueueFull(_) => Fault::Busy,
            _ => Fault::Model,
        }
    }

    /// The message with all its causes on one line, for logs and status pages.
    #[must_use]
    pub fn detail(&self) -> String {
        let mut line = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(next) = cause {
            line.push_str(": ");
            line.push_str(&next.to_string());
            cause = next.source();
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bad_inputs_are_the_clients_fault() {
        let bad = Error::BadInput { tensor: "x".into(), problem: "is missing".into() };
        assert_eq!(bad.fault(), Fault::Client);
        assert_eq!(Error::QueueFull(3).fault(), Fault::Busy);
        assert_eq!(Error::Panicked("boom".into()).fault(), Fault::Model);
    }

    #[test]
    fn the_detail_names_every_cause() {
        let error = Error::Run("matrix is not square".into());
        assert_eq!(error.detail(), "the model failed: matrix is not square");
    }
}

//! ONNX models inside the process.
//!
//! The last model of a fallback chain must not need a network, so it runs here. A [`Model`] is
//! loaded once, checks and converts the tensors that it is given, and runs them through one of
//! two engines; an [`Executor`] keeps the work off the threads that serve connections.
//!
//! | engine | what it is | for |
//! |---|---|---|
//! | [`Engine::Tract`] | tract, pure Rust, with the `ai.onnx.ml` operators of `ops` | nearly everything |
//! | [`Engine::OnnxRuntime`] | a libonnxruntime shared library, loaded at run time | models that tract cannot run |
//!
//! Both pass one conformance suite (`tests/conformance.rs`) against outputs recorded from
//! Python's onnxruntime. tract comes first because it needs no library beside the program and
//! takes half the memory; on the small models that serve as fallbacks the two are level.

pub mod error;
pub mod executor;
mod graph;
pub mod model;
mod ops;
#[cfg(feature = "onnxruntime")]
mod runtime;
mod tract;

pub use error::{Error, Fault};
pub use executor::Executor;
pub use model::{Engine, Model, Options};

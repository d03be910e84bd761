//! The embedded engine as an Open Inference Protocol server of its own.
//!
//! Demos, drills and tests need a model server that can be killed, frozen and restarted, and a
//! small model may be served in earnest by nothing more. The server speaks the protocol's HTTP
//! form with JSON and binary tensors and Triton's load and unload; each model has the one
//! version [`VERSION`].
//!
//! ```text
//! connection (hyper, HTTP/1.1) → service: route → repository: the model, if it is ready
//!                                               → executor: its own threads, bounded queue
//! ```
//!
//! A model that cannot be loaded does not stop the server: it is not ready, its answers say why
//! with status 400 (as Triton's do), and the repository's index lists it as unavailable.

mod error;
mod repository;
mod server;
mod service;

pub use error::Error;
pub use server::{Options, Server};

/// The version of every model, as paths and answers name it.
pub const VERSION: &str = "1";

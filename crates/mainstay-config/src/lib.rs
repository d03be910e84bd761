//! YAML to a valid configuration, with every error at once.
//!
//! [`Config::load`] reads a file and its includes and answers either with a [`Config`] in which
//! illegal states cannot be written, or with [`Errors`]: every fault of the file at once, each
//! with its line, column, stable code and remedy.

pub mod config;

pub use config::{
    Admin, Check, Config, Degrade, Dependency, EmbeddedPool, Endpoint, EndpointUrl, Engine,
    Exhausted, HttpCheck, Limits, Listen, Log, LogFormat, LogLevel, Model, Node, Pool, Probe,
    Records, Source, Step,
};

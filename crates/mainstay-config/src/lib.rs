//! YAML to a valid configuration, with every error at once.
//!
//! [`Config::load`] reads a file and its includes and answers either with a [`Config`] in which
//! illegal states cannot be written, or with [`Errors`]: every fault of the files at once, each
//! with its line, column, stable code and remedy.
//!
//! The way of a file: text → a tree whose nodes know their places (`tree`, `load`) → structs as
//! written, every key documented (`raw`, `reader`) → reviewed against each other (`review`) →
//! [`Config`]. JSON Schema and the annotated example are generated from the second stage.

use std::path::Path;

pub mod code;
pub mod config;
mod difference;
pub mod fault;
pub mod schema;
pub mod secret;

mod example;
mod load;
mod raw;
mod reader;
mod review;
mod source;
mod spanned;
mod tree;
mod value;
mod wording;

pub use code::Code;
pub use config::{
    Admin, BadUrl, Call, Caller, Check, Concurrency, Config, Cors, Counters, Degrade, Dependency,
    Discover, DnsName, EmbeddedPool, Endpoint, EndpointUrl, Engine, Exhausted, Family, Fixed,
    GoldenFile, GoldenProbe, Grant, Guards, HttpCheck, Jwt, Key, KeyHash, Keys, LastGood, Limits,
    Listen, Log, LogFormat, LogLevel, Login, Model, Network, Node, OnFailover, Origin, Origins,
    PathRule, Pool, Priorities, Probe, Process, ProcessLimits, ProcessLog, ProcessStop, Prove,
    Provider, Records, Register, Rehearsal, Replicas, Sentinel, Sequence, SequenceBy, Site, Source,
    Step, Streams, Supervision, TcpListener, TcpRules, Warm, default_state_dir,
};
pub use difference::{Changes, Difference, Digest};
pub use example::{annotated_example, yaml_text};
pub use fault::{Errors, Fault, render_graphical, render_plain};
pub use secret::Secret;

impl Config {
    /// Reads a configuration file and the files that it includes.
    ///
    /// # Errors
    /// Every fault that the files have.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Errors> {
        review::review(load::from_path(path.as_ref()))
    }

    /// Reads a configuration from a text; `name` is what messages call it, and paths in the text
    /// are relative to its folder.
    ///
    /// # Errors
    /// Every fault that the text has.
    pub fn parse(name: &str, text: &str) -> Result<Self, Errors> {
        review::review(load::from_text(name, text))
    }
}

impl Endpoint {
    /// Reads a list of endpoints, written as in a pool; `name` is what messages call the text.
    ///
    /// # Errors
    /// Every fault that the text has.
    pub fn list(name: impl AsRef<Path>, text: &str) -> Result<Vec<Self>, Errors> {
        review::discover::endpoints(name.as_ref(), text)
    }
}

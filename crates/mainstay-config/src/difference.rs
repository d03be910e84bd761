//! What one configuration has that another has not: shown before a reload, told after one.
//!
//! Sections are compared by what they say, not by their text: a comment or another order of keys
//! changes nothing. Secrets are compared where they are used, and never shown.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};

use serde::{Deserialize, Serialize};

use crate::config::{Config, Pool};
use crate::load::Hash;

/// What a reload changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Pools by name; one whose endpoints alone differ is not among the changed.
    pub pools: Changes,
    /// Endpoints as `pool/endpoint`.
    pub endpoints: Changes,
    /// Models by name.
    pub models: Changes,
    /// Other sections that change while running.
    pub sections: Vec<String>,
    /// Keys that cannot change while running.
    pub restart: Vec<String>,
}

/// What came, went and changed; each sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Not there before.
    pub added: Vec<String>,
    /// Not there any more.
    pub removed: Vec<String>,
    /// There before and after, and not the same.
    pub changed: Vec<String>,
}

impl Changes {
    /// Whether nothing came, went or changed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    /// Compares what is said of each name before and after.
    fn of(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Self {
        let only = |of: &BTreeMap<String, String>, other: &BTreeMap<String, String>| {
            of.keys().filter(|name| !other.contains_key(*name)).cloned().collect()
        };
        let differs = |(name, said): &(&String, &String)| {
            after.get(*name).is_some_and(|after| after != *said)
        };
        Self {
            added: only(after, before),
            removed: only(before, after),
            changed: before.iter().filter(differs).map(|(name, _)| name.clone()).collect(),
        }
    }
}

/// What a configuration says, as hashes by name: to be compared with another one, elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    pools: BTreeMap<String, String>,
    endpoints: BTreeMap<String, String>,
    models: BTreeMap<String, String>,
    sections: BTreeMap<String, String>,
    fixed: BTreeMap<String, String>,
}

impl Digest {
    /// The digest of a configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self {
            pools: config.pools.iter().map(|it| (it.name.to_string(), pool(it))).collect(),
            endpoints: endpoints(config),
            models: config
                .models
                .iter()
                .map(|it| (it.name.to_string(), model(config, it)))
                .collect(),
            sections: sections(config),
            fixed: fixed(config),
        }
    }
}

impl Difference {
    /// What `after` has that `before` has not.
    #[must_use]
    pub fn between(before: &Config, after: &Config) -> Self {
        Self::of(&Digest::of(before), &Digest::of(after))
    }

    /// The same of digests.
    #[must_use]
    pub fn of(before: &Digest, after: &Digest) -> Self {
        // A key that only one of them knows comes from another version of the program.
        let differing = |before, after| {
            let Changes { added, removed, changed } = Changes::of(before, after);
            [added, removed, changed].concat()
        };
        Self {
            pools: Changes::of(&before.pools, &after.pools),
            endpoints: Changes::of(&before.endpoints, &after.endpoints),
            models: Changes::of(&before.models, &after.models),
            sections: differing(&before.sections, &after.sections),
            restart: differing(&before.fixed, &after.fixed),
        }
    }

    /// Whether the two say the same.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.pools.is_empty()
            && self.endpoints.is_empty()
            && self.models.is_empty()
            && self.sections.is_empty()
            && self.restart.is_empty()
    }
}

/// One line for each change: `+ endpoint fraud/10.0.0.4:8000`.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return writeln!(f, "no difference");
        }
        let kinds = [("pool", &self.pools), ("endpoint", &self.endpoints), ("model", &self.models)];
        for (kind, changes) in kinds {
            let signs = [("+", &changes.added), ("-", &changes.removed), ("~", &changes.changed)];
            for (sign, names) in signs {
                names.iter().try_for_each(|name| writeln!(f, "{sign} {kind} {name}"))?;
            }
        }
        self.sections.iter().try_for_each(|section| writeln!(f, "~ {section}"))?;
        self.restart.iter().try_for_each(|key| writeln!(f, "! {key} (restart or upgrade needed)"))
    }
}

/// A hash of what is said. FNV-1a, 64 bits: it tells apart, and protects nothing.
fn said(value: &impl Debug) -> String {
    let mut hash = Hash::default();
    hash.add(&format!("{value:?}"));
    format!("{:016x}", hash.get())
}

fn by_key<const N: usize>(said: [(&str, String); N]) -> BTreeMap<String, String> {
    said.into_iter().map(|(key, said)| (key.to_owned(), said)).collect()
}

/// All that is said of a pool beside its endpoints.
fn pool(pool: &Pool) -> String {
    said(&Pool { endpoints: Vec::new(), ..pool.clone() })
}

fn endpoints(config: &Config) -> BTreeMap<String, String> {
    let all = config.pools.iter().flat_map(|pool| {
        pool.endpoints.iter().map(move |it| (format!("{}/{}", pool.name, it.name), said(it)))
    });
    all.collect()
}

/// All that is said of a model, its pools by name.
fn model(config: &Config, model: &crate::Model) -> String {
    let pools: Vec<_> = model.chain.iter().map(|step| pool_name(config, step)).collect();
    let mut model = model.clone();
    for step in &mut model.chain {
        if let crate::Source::Pool { pool, .. } = &mut step.source {
            *pool = 0;
        }
    }
    said(&(pools, model))
}

fn pool_name<'c>(config: &'c Config, step: &crate::Step) -> Option<&'c str> {
    match &step.source {
        crate::Source::Pool { pool, .. } => config.pools.get(*pool).map(|pool| &*pool.name),
        _ => None,
    }
}

/// Where TCP listeners listen, by name.
fn tcp_addresses(config: &Config) -> BTreeMap<&str, std::net::SocketAddr> {
    config.tcp.iter().map(|listener| (&*listener.name, listener.address)).collect()
}

/// All that is said of TCP listeners, their pools by name.
fn listeners(config: &Config) -> Vec<(Vec<&str>, crate::TcpListener)> {
    let each = config.tcp.iter().map(|listener| {
        let pools = listener.pools.iter().filter_map(|at| Some(&*config.pools.get(*at)?.name));
        (pools.collect(), crate::TcpListener { pools: Vec::new(), ..listener.clone() })
    });
    each.collect()
}

/// What changes while running.
fn sections(config: &Config) -> BTreeMap<String, String> {
    by_key([
        ("node", said(&config.node)),
        ("listen.priorities", said(&config.listen.priorities)),
        ("listen.cors", said(&config.listen.cors)),
        ("listen.tls", said(&config.listen.tls)),
        (
            "keys",
            said(&config.keys.as_ref().map(|keys| {
                // A caller is the same with another key, and the section is not.
                let hashes = keys.callers.iter().flat_map(|caller| &caller.keys);
                (keys, hashes.map(crate::KeyHash::prefix).collect::<Vec<_>>())
            })),
        ),
        ("limits", said(&config.limits)),
        ("tcp", said(&listeners(config))),
        ("drain", said(&config.drain)),
        ("retry", said(&config.retry)),
        ("amplification", said(&config.amplification)),
        ("dependencies", said(&config.dependencies)),
        ("supervision.ports", said(&config.supervision.ports)),
    ])
}

/// What is made once, when the gateway starts.
fn fixed(config: &Config) -> BTreeMap<String, String> {
    by_key([
        ("listen.http", said(&config.listen.http)),
        ("tcp.listen", said(&tcp_addresses(config))),
        ("listen.grpc", said(&config.listen.grpc)),
        ("workers", said(&config.workers)),
        ("admin", said(&config.admin)),
        ("state-dir", said(&config.state_dir)),
        ("log", said(&config.log)),
        ("records", said(&config.records)),
        ("embedded", said(&config.embedded)),
        ("supervision.linger", said(&config.supervision.linger)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "
pools:
  a: {endpoints: [{url: \"http://10.0.0.1:8000\"}, {url: \"http://10.0.0.2:8000\"}]}
  b: {endpoints: [{url: \"http://10.0.0.3:8000\"}]}
models:
  m: {chain: [{pool: a}, {pool: b}]}
  n: {chain: [{pool: b}]}
";

    fn config(text: &str) -> Config {
        Config::parse("test.yaml", text).unwrap_or_else(|errors| panic!("{errors:?}"))
    }

    #[test]
    fn the_same_said_otherwise_is_no_difference() {
        let other = format!("# a comment\n{}", BEFORE.replace("pool: b", "\"pool\": b"));
        let difference = Difference::between(&config(BEFORE), &config(&other));
        assert!(difference.is_empty(), "{difference}");
        assert_eq!(difference.to_string(), "no difference\n");
    }

    #[test]
    fn what_comes_goes_and_changes_is_told_by_name() {
        let after = "
workers: 7
listen: {http: 127.0.0.1:1234}
limits: {body: 1 MiB}
pools:
  c: {endpoints: [{url: \"http://10.0.0.9:8000\"}]}
  a:
    endpoints: [{url: \"http://10.0.0.1:8000\", weight: 2}, {url: \"http://10.0.0.4:8000\"}]
    connect-timeout: 1s
models:
  m: {chain: [{pool: a}, {pool: c}]}
";
        let difference = Difference::between(&config(BEFORE), &config(after));
        assert_eq!(
            difference.to_string(),
            "+ pool c\n- pool b\n~ pool a\n\
             + endpoint a/10.0.0.4:8000\n+ endpoint c/10.0.0.9:8000\n\
             - endpoint a/10.0.0.2:8000\n- endpoint b/10.0.0.3:8000\n\
             ~ endpoint a/10.0.0.1:8000\n- model n\n~ model m\n~ limits\n\
             ! listen.http (restart or upgrade needed)\n! workers (restart or upgrade needed)\n"
        );
    }

    #[test]
    fn a_model_is_the_same_when_its_pool_moves_in_the_file() {
        let moved = "
pools:
  b: {endpoints: [{url: \"http://10.0.0.3:8000\"}]}
  a: {endpoints: [{url: \"http://10.0.0.1:8000\"}, {url: \"http://10.0.0.2:8000\"}]}
models:
  n: {chain: [{pool: b}]}
  m: {chain: [{pool: a}, {pool: b}]}
";
        assert!(Difference::between(&config(BEFORE), &config(moved)).is_empty());
    }
}

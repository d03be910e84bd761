//! What was last known of every source, in a file: a gateway that starts while DNS is down knows
//! its servers nevertheless.
//!
//! Endpoints stand in it as in a configuration and are read by the same checks. A file that cannot
//! be read is no reason not to start: the sources are asked anyway.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use mainstay_config::Endpoint;
use serde_json::{Map, Value, json};

/// Endpoints by pool and source.
pub(crate) type Known = BTreeMap<(String, String), Vec<Endpoint>>;

/// Where it is kept.
#[derive(Debug)]
pub(crate) struct Store(PathBuf);

impl Store {
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self(state_dir.join("discovery.json"))
    }

    /// What was known when the last gateway wrote.
    pub(crate) fn load(&self) -> Known {
        let text = match std::fs::read_to_string(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Known::new(),
            Err(error) => {
                tracing::warn!(%error, path = %self.0.display(), "the last known endpoints are lost");
                return Known::new();
            }
        };
        let pools: Map<String, Value> = serde_json::from_str(&text).unwrap_or_default();
        let mut known = Known::new();
        for (pool, sources) in pools {
            for (source, list) in sources.as_object().into_iter().flatten() {
                match Endpoint::list(&self.0, &list.to_string()) {
                    Ok(list) => drop(known.insert((pool.clone(), source.clone()), list)),
                    Err(errors) => {
                        tracing::warn!(%errors, pool, source, "the last known endpoints are lost");
                    }
                }
            }
        }
        known
    }

    /// Writes it whole: a reader finds the old text or the new one.
    pub(crate) fn save(&self, known: &Known) -> io::Result<()> {
        let mut pools: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
        for ((pool, source), list) in known {
            let list = list.iter().map(Endpoint::written).collect();
            pools.entry(pool).or_default().insert(source.clone(), list);
        }
        if let Some(folder) = self.0.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let new = self.0.with_extension("new");
        std::fs::write(&new, format!("{:#}\n", json!(pools)))?;
        std::fs::rename(&new, &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(&folder.path().join("deeper"));
        assert!(store.load().is_empty());
        let list = Endpoint::list("x", "[{url: 'http://10.0.0.1:8000', name: a, weight: 2}]");
        let known: Known = [(("p".into(), "dns m:8000".into()), list.unwrap())].into();
        store.save(&known).unwrap();
        assert_eq!(store.load(), known);
        std::fs::write(folder.path().join("deeper/discovery.json"), "{").unwrap();
        assert!(store.load().is_empty());
    }
}

//! Files that change: read again once they have stopped changing.
//!
//! A certificate and its key are two files, so that one of them is new first. Only when a second
//! look finds them as the first did are they read. What cannot be used leaves in use what was.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mainstay_protocol::certificate::Certificate;

use crate::{Client, Error, Server};

/// Somebody whose files are watched.
#[derive(Clone, Debug)]
pub enum Part {
    /// A listener.
    Server(Arc<Server>),
    /// Connections to servers.
    Client(Arc<Client>),
}

impl Part {
    fn paths(&self) -> Vec<&Path> {
        match self {
            Self::Server(server) => {
                let settings = server.settings();
                let ca = settings.clients.as_ref().map(|(ca, _)| ca);
                [Some(&settings.certificate), Some(&settings.key), ca]
                    .into_iter()
                    .flatten()
                    .map(PathBuf::as_path)
                    .collect()
            }
            Self::Client(client) => {
                let settings = client.settings();
                let own = settings.identity.iter().flat_map(|(own, key)| [own, key]);
                settings.ca.iter().chain(own).map(PathBuf::as_path).collect()
            }
        }
    }

    fn reload(&self) -> Result<(), Error> {
        match self {
            Self::Server(server) => server.reload(),
            Self::Client(client) => client.reload(),
        }
    }

    fn is_broken(&self) -> bool {
        match self {
            Self::Server(server) => server.is_broken(),
            Self::Client(client) => client.is_broken(),
        }
    }

    /// The certificate that it shows, if any.
    #[must_use]
    pub fn shown(&self) -> Option<Certificate> {
        match self {
            Self::Server(server) => server.shown(),
            Self::Client(client) => client.shown(),
        }
    }
}

/// How a file is told from the one before: device, number, length, and when it was written and
/// put in its place.
type Stamp = Vec<Option<(u64, u64, u64, i64, i64)>>;

/// What is known of the files of each part, by a name.
#[derive(Debug, Default)]
pub struct Watch(HashMap<String, Known>);

#[derive(Debug)]
struct Known {
    used: Stamp,
    seen: Stamp,
}

impl Watch {
    /// Looks at the files of one part: `Some` when they were read again, and how that went.
    pub fn look(&mut self, name: &str, part: &Part) -> Option<Result<(), Error>> {
        let stamp: Stamp = part.paths().into_iter().map(stamp).collect();
        let Some(known) = self.0.get_mut(name) else {
            self.0.insert(name.to_owned(), Known { used: stamp.clone(), seen: stamp });
            return None;
        };
        if stamp == known.used && !part.is_broken() {
            known.seen = stamp;
            return None;
        }
        if stamp != known.seen {
            known.seen = stamp;
            return None;
        }
        known.used = stamp;
        Some(part.reload())
    }

    /// Forgets all parts but those of these names.
    pub fn keep(&mut self, is_there: impl Fn(&str) -> bool) {
        self.0.retain(|name, _| is_there(name));
    }
}

fn stamp(path: &Path) -> Option<(u64, u64, u64, i64, i64)> {
    let known = std::fs::metadata(path).ok()?;
    Some((known.dev(), known.ino(), known.len(), known.mtime_nsec(), known.ctime_nsec()))
}

//! Endpoints out of a watched file.
//!
//! The file is looked at twice a second rather than watched by inotify: what counts is what the
//! path leads to, through symbolic links that are swapped (as Kubernetes does with ConfigMaps),
//! through renames, and on file systems that notify nobody. It is read once it was the same at
//! two looks, so that one that is being written is not read half.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mainstay_config::{Discover, Endpoint};
use mainstay_policy::discovery::Said;

/// Between two looks.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A list of endpoints is text by hand or by a small program; a larger file is the wrong one.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// What a path leads to, as far as a change shows: device, inode, size, and the times of content
/// and inode in nanoseconds.
type Trace = (u64, u64, u64, i128, i128);

/// A file that is looked at again and again.
#[derive(Debug)]
pub(crate) struct File {
    path: PathBuf,
    seen: Option<Result<Trace, String>>,
    read: Option<Result<Trace, String>>,
}

impl File {
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self { path, seen: None, read: None }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Has it read again at the next look, whether it changed or not.
    pub(crate) fn again(&mut self) {
        self.read = None;
    }

    /// What it says, if that may be something new. The first look does not wait for a second.
    pub(crate) fn look(&mut self, discover: &Discover) -> Option<Said<Endpoint>> {
        let trace = trace(&self.path).map_err(|error| error.to_string());
        let settled = self.seen.is_none() || self.seen.as_ref() == Some(&trace);
        self.seen = Some(trace.clone());
        if !settled || self.read.as_ref() == Some(&trace) {
            return None;
        }
        self.read = Some(trace.clone());
        let path = self.path.display();
        let said = trace.map_err(|error| format!("cannot read {path}: {error}"));
        Some(said.and_then(|_| read(&self.path, discover)).unwrap_or_else(Said::Failed))
    }
}

fn trace(path: &Path) -> std::io::Result<Trace> {
    let meta = std::fs::metadata(path)?;
    let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let content = nanos(meta.mtime(), meta.mtime_nsec());
    let inode = nanos(meta.ctime(), meta.ctime_nsec());
    Ok((meta.dev(), meta.ino(), meta.size(), content, inode))
}

fn read(path: &Path, discover: &Discover) -> Result<Said<Endpoint>, String> {
    let shown = path.display();
    let meta = std::fs::metadata(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    if !meta.is_file() || meta.len() > MAX_BYTES {
        return Err(format!("{shown} is no file of at most 4 MiB"));
    }
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| format!("cannot read {shown}: {error}"))?;
    let list = Endpoint::list(path, &text).map_err(|errors| {
        let faults = errors.faults();
        let first = faults.first().map(ToString::to_string).unwrap_or_default();
        let more = faults.len().saturating_sub(1);
        if more == 0 { first } else { format!("{first} (and {more} more)") }
    })?;
    let placed = list.into_iter().map(|endpoint| endpoint.placed(discover));
    let endpoints = placed.map(|endpoint| (Arc::from(endpoint.url.to_string()), endpoint));
    Ok(Said::Found { endpoints: endpoints.collect(), ttl: None, lacking: None })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use mainstay_config::Config;

    use super::*;

    fn discover(path: &Path) -> Discover {
        let text = format!(
            "pools: {{p: {{discover: {{file: {}}}}}}}\nmodels: {{m: {{chain: [{{pool: p}}]}}}}\n",
            path.display()
        );
        Config::parse("test.yaml", &text).unwrap().pools[0].discover[0].clone()
    }

    /// What the file says once it has settled: URLs, or the trouble.
    fn look(file: &mut File, discover: &Discover) -> Option<Result<Vec<String>, String>> {
        let looks = [file.look(discover), file.look(discover)];
        looks.into_iter().flatten().next_back().map(|said| match said {
            Said::Found { endpoints, .. } => {
                Ok(endpoints.keys().map(ToString::to_string).collect())
            }
            Said::Failed(why) => Err(why),
        })
    }

    #[test]
    fn it_is_read_when_it_changes_and_only_then() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("endpoints.yaml");
        let discover = discover(&path);
        let mut file = File::new(path.clone());
        assert!(look(&mut file, &discover).unwrap().unwrap_err().contains("cannot read"));
        fs::write(&path, "- http://a:1\n- {url: http://b:2, weight: 2}\n").unwrap();
        let both = vec!["http://a:1".to_owned(), "http://b:2".to_owned()];
        assert_eq!(look(&mut file, &discover), Some(Ok(both)));
        assert_eq!(look(&mut file, &discover), None);
        let new = folder.path().join("new");
        fs::write(&new, r#"["http://c:3"]"#).unwrap();
        fs::rename(&new, &path).unwrap();
        assert_eq!(look(&mut file, &discover), Some(Ok(vec!["http://c:3".to_owned()])));
    }

    #[test]
    fn a_link_that_is_swapped_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (version, url) in [("one", "http://a:1"), ("two", "http://b:2")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("endpoints.yaml"), format!("- {url}\n")).unwrap();
        }
        symlink("one", at("..data")).unwrap();
        symlink("..data/endpoints.yaml", at("endpoints.yaml")).unwrap();
        let discover = discover(&at("endpoints.yaml"));
        let mut file = File::new(at("endpoints.yaml"));
        assert_eq!(look(&mut file, &discover), Some(Ok(vec!["http://a:1".to_owned()])));
        symlink("two", at("..tmp")).unwrap();
        fs::rename(at("..tmp"), at("..data")).unwrap();
        assert_eq!(look(&mut file, &discover), Some(Ok(vec!["http://b:2".to_owned()])));
    }

    #[test]
    fn a_bad_file_is_said_to_be_bad_and_where() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("endpoints.yaml");
        let discover = discover(&path);
        for (text, part) in [
            ("- http://a:1\n- {url: http://b:2, wieght: 2}\n", "endpoints.yaml:2:"),
            ("- http://a:1\n- [\n", "endpoints.yaml:"),
            ("http://a:1\n", "endpoints.yaml:1:"),
            ("- {url: http://a:1, dependencies: []}\n", "not read from here"),
            ("- http://a:1\n- http://a:1\n", "twice"),
        ] {
            fs::write(&path, text).unwrap();
            let why = look(&mut File::new(path.clone()), &discover).unwrap().unwrap_err();
            assert!(why.contains(part), "{text:?}: {why}");
        }
    }
}

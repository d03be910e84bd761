//! The files of the repository, as the checks read them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Folders that hold no source of ours.
const SKIPPED: [&str; 7] =
    ["target", ".git", ".venv", ".cache", "node_modules", "artifacts", "corpus"];

/// One text file of the tree.
#[derive(Debug)]
pub(crate) struct File {
    /// Relative to the repository's root, with `/` between the parts.
    pub(crate) path: String,
    /// What it says.
    pub(crate) text: String,
}

impl File {
    /// The text up to its inline tests, which stand last in a file.
    pub(crate) fn production(&self) -> &str {
        let end = self.text.find("\n#[cfg(test)]\nmod ").unwrap_or(self.text.len());
        &self.text[..end]
    }

    /// Whether the whole file is test code.
    pub(crate) fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }
}

/// The repository's root: two folders above this crate.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// Every file below `root` that ends in `extension`, in the order of the paths.
pub(crate) fn files(root: &Path, extension: &str) -> anyhow::Result<Vec<File>> {
    let mut paths = Vec::new();
    collect(root, extension, &mut paths)?;
    paths.sort();
    paths.iter().map(|path| read(root, path)).collect()
}

fn collect(folder: &Path, extension: &str, paths: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if !SKIPPED.iter().any(|name| entry.file_name() == *name) {
                collect(&path, extension, paths)?;
            }
        } else if path.extension().is_some_and(|found| found == extension) {
            paths.push(path);
        }
    }
    Ok(())
}

fn read(root: &Path, path: &Path) -> anyhow::Result<File> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let path = path.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
    Ok(File { path, text })
}

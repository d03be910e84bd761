//! Secrets: read from a file or the environment, never shown.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// No secret is longer; a larger file is the wrong one.
const MAX_BYTES: u64 = 64 * 1024;

/// A value that no log, message or debug output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The content of a file without the blank space at its end.
    ///
    /// # Errors
    /// When the file cannot be read, is no regular file, is longer than 64 KiB, empty or no
    /// text.
    pub fn from_file(path: &Path) -> io::Result<Self> {
        if !path.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let mut text = String::new();
        File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
        if text.len() as u64 > MAX_BYTES {
            return Err(io::Error::other("longer than 64 KiB"));
        }
        Self::checked(text.trim_end())
    }

    /// The value of an environment variable.
    ///
    /// # Errors
    /// When it is not set, empty or no text.
    pub fn from_env(name: &str) -> io::Result<Self> {
        let value = std::env::var(name).map_err(io::Error::other)?;
        Self::checked(value.trim_end())
    }

    /// A value that the configuration itself holds, not to be shown either.
    pub(crate) fn literal(value: &str) -> Self {
        Self(value.to_owned())
    }

    fn checked(value: &str) -> io::Result<Self> {
        if value.is_empty() {
            return Err(io::Error::other("empty"));
        }
        Ok(Self(value.to_owned()))
    }

    /// The value itself, for the place that sends or compares it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_and_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "s3cr3t\n").unwrap();
        let secret = Secret::from_file(&path).unwrap();
        assert_eq!(secret.expose(), "s3cr3t");
        assert_eq!(format!("{secret:?}"), "Secret(***)");
    }

    #[test]
    fn folders_and_empty_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Secret::from_file(dir.path()).is_err());
        std::fs::write(dir.path().join("empty"), "\n").unwrap();
        assert!(Secret::from_file(&dir.path().join("empty")).is_err());
    }
}

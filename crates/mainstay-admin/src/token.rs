//! The operators' token: who knows it may change what the gateway does.
//!
//! It is made on the first start, 256 bits from the system, and kept in a file that only its
//! owner can read: whoever can read the file could as well stop the gateway. An existing file
//! is taken as it is if it is as closed as we would have made it.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use subtle::ConstantTimeEq;

use crate::error::Error;

/// Bytes of chance in a token of our own.
const RANDOM: usize = 32;
/// A token that is shorter could be guessed; one that is longer is a wrong file.
const LENGTHS: std::ops::RangeInclusive<usize> = 32..=512;
/// Permission bits that nobody but the owner may have.
const OTHERS: u32 = 0o077;

/// A token. It is neither shown by `Debug` nor logged.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Reads the token, or makes one if there is no such file.
    ///
    /// # Errors
    /// The file cannot be read or made, can be read by others, or holds no token.
    pub fn load_or_create(path: &Path) -> Result<Self, Error> {
        match File::open(path) {
            Ok(file) => Self::read(path, file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::create(path),
            Err(source) => Err(Error::TokenFile { path: path.to_owned(), source }),
        }
    }

    /// Reads the token.
    ///
    /// # Errors
    /// The file cannot be read, can be read by others, or holds no token.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::TokenFile { path: path.to_owned(), source };
        Self::read(path, File::open(path).map_err(failed)?)
    }

    /// The token itself, to be sent.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Compares without telling by its time how much of a guess was right.
    pub(crate) fn is(&self, guess: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(guess).into()
    }

    fn read(path: &Path, file: File) -> Result<Self, Error> {
        let failed = |source| Error::TokenFile { path: path.to_owned(), source };
        let mode = file.metadata().map_err(failed)?.mode() & 0o777;
        if mode & OTHERS != 0 {
            return Err(Error::TokenExposed { path: path.to_owned(), mode });
        }
        let mut text = Vec::new();
        file.take(2 * *LENGTHS.end() as u64).read_to_end(&mut text).map_err(failed)?;
        Self::parse(&text).ok_or_else(|| Error::TokenMalformed { path: path.to_owned() })
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let token = std::str::from_utf8(text).ok()?.trim();
        let sound = LENGTHS.contains(&token.len()) && token.bytes().all(|b| b.is_ascii_graphic());
        sound.then(|| Self(token.to_owned()))
    }

    fn create(path: &Path) -> Result<Self, Error> {
        let mut random = [0; RANDOM];
        getrandom::fill(&mut random).map_err(Error::Random)?;
        let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        match keep(path, &token) {
            Ok(()) => Ok(Self(token)),
            // Another gateway of the same state directory was faster: they share its token.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::load(path),
            Err(source) => Err(Error::TokenFile { path: path.to_owned(), source }),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Writes the file beside its place and links it there, so that it is never seen half written
/// and never overwrites another.
fn keep(path: &Path, token: &str) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = writeln!(file, "{token}").and_then(|()| file.sync_all());
    let kept = written.and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft)?;
    kept
}

#[cfg(test)]
mod tests;

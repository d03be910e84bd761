//! Files into one tree: reading, includes, and defaults laid under entries.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::code::Code;
use crate::fault::Fault;
use crate::reader::{self, Cause};
use crate::source::{File, Span};
use crate::spanned::Spanned;
use crate::tree::{Id, Kind, Tree};
use crate::value::Short;
use crate::{raw, wording};

/// A configuration is text by hand; a larger file is the wrong one.
const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Files of one configuration.
const MAX_FILES: usize = 64;
/// Sections whose entries may be spread over files.
const JOINED: [&str; 2] = ["pools", "models"];

/// A configuration as written, with the faults met so far.
pub(crate) struct Loaded {
    /// `None` when it could not be read at all.
    pub(crate) raw: Option<Spanned<raw::RawConfig>>,
    /// The names of all pools, those that could not be read among them.
    pub(crate) pool_names: Vec<String>,
    /// The files, by the number in their spans.
    pub(crate) files: Vec<Arc<File>>,
    pub(crate) faults: Vec<Fault>,
    /// A short hash of all texts.
    pub(crate) version: String,
    /// Where the texts were read.
    pub(crate) paths: Vec<PathBuf>,
}

/// Reads a file and its includes.
pub(crate) fn from_path(path: &Path) -> Loaded {
    let mut loader = Loader::default();
    let root = match read_text(path) {
        Ok(text) => loader.add_file(path, path.display().to_string(), &text),
        Err(error) => {
            let message = format!("cannot read {}: {error}", path.display());
            let help = "give the path of a YAML file that this user may read";
            loader.faults.push(Fault::new(Code::Unreadable, message, help));
            None
        }
    };
    loader.finish(root)
}

/// Reads a text and its includes, which are relative to the folder of `name`.
pub(crate) fn from_text(name: &str, text: &str) -> Loaded {
    let mut loader = Loader::default();
    let root = loader.add_file(Path::new(name), name.to_owned(), text);
    loader.finish(root)
}

/// A list of endpoints as written, with its file and the faults met so far.
pub(crate) fn endpoints(
    name: &Path,
    text: &str,
) -> (Option<WrittenEndpoints>, Arc<File>, Vec<Fault>) {
    let mut loader = Loader::default();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    loader.files.push(Arc::new(File::new(name.display().to_string(), PathBuf::new(), text)));
    let list = match loader.tree.parse(0, text) {
        Err(error) => {
            loader.syntax_fault(0, &error);
            None
        }
        Ok((root, duplicates)) => {
            for duplicate in duplicates {
                loader.set_twice(&duplicate.key, duplicate.last, duplicate.first);
            }
            loader.read(root)
        }
    };
    let Loader { mut files, faults, .. } = loader;
    (list, files.swap_remove(0), faults)
}

/// Endpoints as they are written.
pub(crate) type WrittenEndpoints = Vec<Spanned<Short<raw::RawEndpoint>>>;

/// A text file of reasonable size. Devices and pipes are refused: they may never end.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    fs::File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::other("it is larger than 4 MiB"));
    }
    Ok(text)
}

/// FNV-1a, 64 bits: a label for people, not a protection.
#[derive(Debug)]
pub(crate) struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    pub(crate) const fn get(&self) -> u64 {
        self.0
    }

    pub(crate) fn add(&mut self, text: &str) {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

#[derive(Default)]
struct Loader {
    tree: Tree,
    files: Vec<Arc<File>>,
    seen: HashSet<PathBuf>,
    faults: Vec<Fault>,
    hash: Hash,
    paths: Vec<PathBuf>,
}

impl Loader {
    /// Parses a file and merges its includes; `None` when it is no mapping.
    fn add_file(&mut self, path: &Path, name: String, text: &str) -> Option<Id> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        self.hash.add(text);
        self.paths.push(path.to_owned());
        self.seen.insert(path.canonicalize().unwrap_or_else(|_| path.to_owned()));
        let folder = path.parent().map(ToOwned::to_owned).unwrap_or_default();
        let number = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
        self.files.push(Arc::new(File::new(name, folder.clone(), text)));
        let root = self.parse(number, text)?;
        self.merge_includes(root, &folder);
        Some(root)
    }

    fn parse(&mut self, number: u32, text: &str) -> Option<Id> {
        let (root, duplicates) = match self.tree.parse(number, text) {
            Ok(parsed) => parsed,
            Err(error) => {
                self.syntax_fault(number, &error);
                return None;
            }
        };
        for duplicate in duplicates {
            self.set_twice(&duplicate.key, duplicate.last, duplicate.first);
        }
        match self.tree.node(root).kind {
            Kind::Map(_) => Some(root),
            Kind::Null => {
                self.tree.set_kind(root, Kind::Map(Vec::new()));
                Some(root)
            }
            _ => {
                let span = self.tree.node(root).span;
                let help = "begin with `pools:` and `models:`";
                self.fault(Code::WrongType, span, "the file is no mapping of sections", help);
                None
            }
        }
    }

    fn syntax_fault(&mut self, number: u32, error: &serde_saphyr::Error) {
        let file = &self.files[number as usize];
        let message = wording::syntax_message(&error.without_snippet().to_string());
        let fault = Fault::new(Code::Syntax, &*message, wording::syntax_help(&message));
        let offset = error.location().map_or(0, |place| file.offset(place.line(), place.column()));
        self.faults.push(fault.at(file, offset, offset + 1));
    }

    fn fault(&mut self, code: Code, span: Span, message: impl Into<String>, help: &str) {
        let fault = Fault::new(code, message, help);
        let file = &self.files[span.file as usize];
        self.faults.push(fault.at(file, span.start as usize, span.end as usize));
    }

    fn set_twice(&mut self, key: &str, span: Span, first: Span) {
        let file = &self.files[first.file as usize];
        let (line, _) = file.position(first.start as usize);
        let message = format!("{key:?} is set twice, first at {}:{line}", file.name);
        self.fault(Code::SetTwice, span, message, "keep one of the two, or rename one");
    }

    fn merge_includes(&mut self, root: Id, folder: &Path) {
        let Some(list) = self.tree.get(root, "include") else { return };
        let Kind::List(items) = self.tree.node(list).kind.clone() else { return };
        for item in items {
            let Some(name) = self.tree.text(item).map(ToOwned::to_owned) else { continue };
            let span = self.tree.node(item).span;
            if let Some(included) = self.include(&folder.join(name), span) {
                self.join(root, included);
            }
        }
    }

    fn include(&mut self, path: &Path, span: Span) -> Option<Id> {
        let shown = path.display().to_string();
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if self.seen.contains(&real) {
            let message = format!("{shown} is included already");
            self.fault(
                Code::Include,
                span,
                message,
                "include each file once, and none in a circle",
            );
            return None;
        }
        if self.files.len() >= MAX_FILES {
            let message = format!("more than {MAX_FILES} files in one configuration");
            self.fault(Code::Include, span, message, "join some of the files");
            return None;
        }
        match read_text(path) {
            Ok(text) => self.add_file(path, shown, &text),
            Err(error) => {
                let help = "give a path relative to the file that includes it";
                self.fault(Code::Unreadable, span, format!("cannot read {shown}: {error}"), help);
                None
            }
        }
    }

    /// Adds the sections of an included file to those of the file that includes it.
    fn join(&mut self, root: Id, included: Id) {
        for (key, value) in self.tree.entries(included).to_vec() {
            let Some(name) = self.tree.text(key).map(ToOwned::to_owned) else { continue };
            match self.tree.get(root, &name) {
                _ if name == "include" => {}
                None => self.tree.push_entry(root, key, value),
                Some(own) if JOINED.contains(&name.as_str()) => self.join_entries(own, value),
                Some(own) => {
                    let (last, first) = (self.tree.node(key).span, self.tree.node(own).span);
                    self.set_twice(&name, last, first);
                }
            }
        }
    }

    fn join_entries(&mut self, section: Id, included: Id) {
        for (key, value) in self.tree.entries(included).to_vec() {
            let Some(name) = self.tree.text(key).map(ToOwned::to_owned) else { continue };
            match self.tree.key_span(section, &name) {
                None => self.tree.push_entry(section, key, value),
                Some(first) => self.set_twice(&name, self.tree.node(key).span, first),
            }
        }
    }

    /// Lays `defaults:` under the entries and reads the typed structs.
    fn finish(mut self, root: Option<Id>) -> Loaded {
        let raw = root.and_then(|root| {
            self.lay_defaults(root, "pool", "pools", 2);
            self.lay_defaults(root, "model", "models", 1);
            self.read(root)
        });
        Loaded {
            raw,
            pool_names: root.map(|root| self.tree.names(root, "pools")).unwrap_or_default(),
            files: self.files,
            faults: self.faults,
            version: format!("{:012x}", self.hash.0 >> 16),
            paths: self.paths,
        }
    }

    fn lay_defaults(&mut self, root: Id, kind: &str, section: &str, depth: usize) {
        let defaults = self.tree.get(root, "defaults").and_then(|id| self.tree.get(id, kind));
        let (Some(defaults), Some(section)) = (defaults, self.tree.get(root, section)) else {
            return;
        };
        for (_, entry) in self.tree.entries(section).to_vec() {
            self.tree.underlay(entry, defaults, depth);
        }
    }

    fn read<T: DeserializeOwned>(&mut self, root: Id) -> Option<T> {
        let Self { tree, files, faults, .. } = self;
        reader::read(tree, root, |tree: &Tree, id: Id, cause: Cause| {
            let span = tree.node(id).span;
            let file = &files[span.file as usize];
            let fault = wording::fault(cause);
            faults.push(fault.at(file, span.start as usize, span.end as usize));
        })
    }
}

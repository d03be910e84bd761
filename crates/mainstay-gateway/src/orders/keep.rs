//! The file in which orders outlive the process: small, whole or not there, its owner's alone.
//!
//! It is written beside its place and renamed, and the folder is synced, so that a power cut leaves
//! the old orders or the new ones. A file that cannot be read is put aside and told of: serving
//! without the orders is better than not serving.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use mainstay_admin::OrderError;
use mainstay_control::orders::Book;
use serde::{Deserialize, Serialize};

/// The form of the file; another one is not read.
const FORM: u32 = 1;

/// Where orders are kept.
#[derive(Debug)]
pub(super) struct Keep {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    form: u32,
    orders: Book,
}

impl Keep {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self { path: state_dir.join("orders.json") }
    }

    /// What was kept, and what is wrong with it.
    pub(super) fn load(&self) -> (Book, Option<String>) {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Default::default(),
            Err(error) => return (Book::default(), Some(self.trouble(&error))),
        };
        match serde_json::from_slice::<Kept>(&text) {
            Ok(kept) if kept.form == FORM => (kept.orders, None),
            Ok(kept) => self.put_aside(&format!("it has form {}, not {FORM}", kept.form)),
            Err(error) => self.put_aside(&error.to_string()),
        }
    }

    fn put_aside(&self, why: &str) -> (Book, Option<String>) {
        let aside = self.path.with_extension("json.unread");
        let moved = match fs::rename(&self.path, &aside) {
            Ok(()) => format!("it is kept as {}", aside.display()),
            Err(error) => error.to_string(),
        };
        (Book::default(), Some(format!("{}; {moved}", self.trouble(&why))))
    }

    fn trouble(&self, why: &dyn std::fmt::Display) -> String {
        let path = self.path.display();
        format!("MS0317: the orders in {path} cannot be read: {why}")
    }

    /// Writes all orders. On an error the old ones are still there.
    pub(super) fn save(&self, book: &Book) -> Result<(), OrderError> {
        self.write(book)
            .map_err(|source| OrderError::NotKept { path: self.path.display().to_string(), source })
    }

    fn write(&self, book: &Book) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or_else(|| Path::new("."));
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let draft = self.path.with_extension(format!("json.{}", std::process::id()));
        let kept = Kept { form: FORM, orders: book.clone() };
        let written = draft_of(&draft, &kept).and_then(|()| fs::rename(&draft, &self.path));
        if written.is_err() {
            let _ = fs::remove_file(&draft);
        }
        written?;
        File::open(folder)?.sync_all()
    }
}

fn draft_of(draft: &Path, kept: &Kept) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(draft)?;
    serde_json::to_writer_pretty(&mut file, kept)?;
    file.write_all(b"\n")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use mainstay_control::orders::{Order, Scope, Unix, Verb};

    use super::*;

    fn book() -> Book {
        let mut book = Book::default();
        let order = Order {
            scope: Scope::Zone("z1".to_owned()),
            verb: Verb::Drain,
            reason: "a new switch".to_owned(),
            since: Unix(1_000),
            until: None,
            orphaned: None,
        };
        book.place(order).unwrap();
        book
    }

    #[test]
    fn what_is_saved_is_loaded_and_nobody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let keep = Keep::new(&folder.path().join("state"));
        assert_eq!(keep.load(), (Book::default(), None));
        keep.save(&book()).unwrap();
        assert_eq!(keep.load(), (book(), None));
        let mode = fs::metadata(&keep.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let files = fs::read_dir(keep.path.parent().unwrap()).unwrap().count();
        assert_eq!(files, 1, "no draft is left");
    }

    #[test]
    fn what_cannot_be_read_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let keep = Keep::new(folder.path());
        for text in ["{\"form\": 1, \"orders\": [", "{\"form\": 9, \"orders\": []}"] {
            fs::write(&keep.path, text).unwrap();
            let (book, trouble) = keep.load();
            assert_eq!(book, Book::default());
            assert!(trouble.is_some_and(|trouble| trouble.contains("orders.json.unread")));
            assert!(!keep.path.exists());
        }
    }

    #[test]
    fn what_cannot_be_written_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(Keep::new(&file).save(&book()), Err(OrderError::NotKept { .. })));
    }
}

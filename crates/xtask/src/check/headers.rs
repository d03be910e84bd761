//! Every source file opens with a `//!` header that says what it decides or does.

use std::path::Path;

use crate::source;

/// Files that open with anything else.
pub(super) fn findings(root: &Path) -> anyhow::Result<Vec<String>> {
    let files = source::files(root, "rs")?;
    let bare = files.iter().filter(|file| !has_header(&file.text));
    Ok(bare.map(|file| format!("{} opens without a //! header", file.path)).collect())
}

/// Crate attributes (`#![no_main]` in a fuzz target) may stand before the header.
fn has_header(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.find(|line| !line.starts_with("#![")).is_some_and(|line| line.starts_with("//!"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_may_come_first() {
        assert!(has_header("#![no_main]\n//! Fuzzes.\n"));
        assert!(has_header("//! Decides.\n"));
        assert!(!has_header("// Not a header.\n"));
        assert!(!has_header(""));
    }
}

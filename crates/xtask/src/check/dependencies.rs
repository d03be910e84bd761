//! Every crate from outside that a manifest names has its line in ARCHITECTURE.md, so that each
//! was once argued for.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Context;

use super::rings;

/// Dependencies without a line.
pub(super) fn findings(root: &Path) -> anyhow::Result<Vec<String>> {
    let path = root.join("ARCHITECTURE.md");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let argued = argued(&text);
    let metadata = rings::read(root)?;
    let packages = metadata.workspace_packages();
    let outside = packages.iter().flat_map(|p| &p.dependencies).filter(|d| d.source.is_some());
    let named: BTreeSet<&str> = outside.map(|dependency| dependency.name.as_str()).collect();
    let bare = named.into_iter().filter(|name| !argued.contains(name));
    Ok(bare.map(|name| format!("{name} has no line in ARCHITECTURE.md")).collect())
}

/// The crates in the first cells of the document's tables.
fn argued(text: &str) -> BTreeSet<&str> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split('|').next())
        .flat_map(|cell| cell.split(','))
        .map(|name| name.trim().trim_matches('`'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_may_argue_for_several() {
        let text = "| crate | for |\n|---|---|\n| `clap`, `clap_complete` | the command line |\n";
        assert_eq!(argued(text), BTreeSet::from(["clap", "clap_complete"]));
    }
}

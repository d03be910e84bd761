//! Names the long files: production code of more than about a screenful of screens.

use std::path::Path;

use crate::source::{self, File};

/// Lines without tests; half of the files of the projects that we learn from stay below 200.
const LONG: usize = 400;

/// One line for each long file, the longest first, and a line with the median.
pub(super) fn report(root: &Path) -> anyhow::Result<Vec<String>> {
    let files = source::files(&root.join("crates"), "rs")?;
    let production = files.iter().filter(|file| !file.is_test());
    let mut lengths: Vec<(usize, &File)> =
        production.map(|file| (file.production().lines().count(), file)).collect();
    lengths.sort_by(|left, right| right.0.cmp(&left.0).then(left.1.path.cmp(&right.1.path)));
    let median = lengths.get(lengths.len() / 2).map_or(0, |(lines, _)| *lines);
    let long = lengths.iter().take_while(|(lines, _)| *lines > LONG);
    let mut report = vec![format!("lengths: {} files, median {median} lines", lengths.len())];
    report.extend(long.map(|(lines, file)| format!("  {lines} lines: crates/{}", file.path)));
    Ok(report)
}

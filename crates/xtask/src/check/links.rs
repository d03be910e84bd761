//! Relative links in the documents lead to files that exist. Links to the web are not followed.

use std::path::Path;

use crate::source;

/// Links that lead nowhere.
pub(super) fn findings(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for page in source::files(root, "md")? {
        let path = root.join(&page.path);
        let folder = path.parent().unwrap_or(root);
        let targets = targets(&page.text);
        let broken = targets.iter().filter(|target| !folder.join(target).exists());
        found.extend(broken.map(|target| format!("{}: {target} does not exist", page.path)));
    }
    Ok(found)
}

/// Targets of `[text](target)` within the repository, without their `#anchor`.
fn targets(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.split('#').next().unwrap_or(target))
        .filter(|target| !target.is_empty() && !target.contains("://") && !target.contains(' '))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_relative_targets_count() {
        let text = "[a](docs/a.md#part) [b](https://example.org) [c](#here) [d](d.md)";
        assert_eq!(targets(text), ["docs/a.md", "d.md"]);
    }
}

//! Every error code in the sources has its page under `docs/errors/`, and every page its code.
//!
//! A code is `MS` and four digits. Its page is `docs/errors/MS0103.md`, opens with the code and a
//! title, and says what happened, why, and what to do.

use std::collections::BTreeMap;
use std::path::Path;

use crate::source;

const DIGITS: usize = 4;

/// Codes without a page, pages without a code, pages that open with something else.
pub(super) fn findings(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut used = BTreeMap::new();
    for file in source::files(&root.join("crates"), "rs")? {
        // This crate speaks of codes without raising any.
        if file.path.starts_with("xtask/") || file.is_test() {
            continue;
        }
        for code in codes(file.production()) {
            used.entry(code.to_owned()).or_insert_with(|| file.path.clone());
        }
    }
    let pages: BTreeMap<String, String> = source::files(&root.join("docs/errors"), "md")?
        .into_iter()
        .filter_map(|page| Some((page.path.strip_suffix(".md")?.to_owned(), page.text)))
        .filter(|(name, _)| name != "README")
        .collect();
    let missing = used.iter().filter(|(code, _)| !pages.contains_key(*code));
    let missing =
        missing.map(|(code, path)| format!("{code} ({path}) has no docs/errors/{code}.md"));
    let unused = pages.keys().filter(|code| !used.contains_key(*code));
    let unused = unused.map(|code| format!("docs/errors/{code}.md: no source raises {code}"));
    let untitled = pages.iter().filter(|(code, text)| !text.starts_with(&format!("# {code}: ")));
    let untitled = untitled
        .map(|(code, _)| format!("docs/errors/{code}.md does not open with \"# {code}: \""));
    Ok(missing.chain(unused).chain(untitled).collect())
}

/// Every code that `text` names.
fn codes(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("MS").filter_map(|(at, _)| {
        let code = text.get(at..at + 2 + DIGITS)?;
        let after = text[at + 2 + DIGITS..].chars().next();
        let whole = !after.is_some_and(|next| next.is_ascii_alphanumeric());
        (code[2..].bytes().all(|byte| byte.is_ascii_digit()) && whole).then_some(code)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_whole() {
        let text = "MS0103, (MS0207) MS12 MSX123 MS01034 RFC";
        assert_eq!(codes(text).collect::<Vec<_>>(), ["MS0103", "MS0207"]);
    }
}

//! `docs/lexicon.md` gives each word one meaning: no word twice, none without a meaning, and in
//! the order of the alphabet so that a reader finds it.

use std::fs;
use std::path::Path;

use anyhow::Context;

/// Words that stand twice, out of order or alone.
pub(super) fn findings(root: &Path) -> anyhow::Result<Vec<String>> {
    let path = root.join("docs/lexicon.md");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let words = words(&text);
    let mut found: Vec<String> = words
        .windows(2)
        .filter(|pair| pair[0].0.to_lowercase() >= pair[1].0.to_lowercase())
        .map(|pair| format!("{:?} does not belong after {:?}", pair[1].0, pair[0].0))
        .collect();
    let bare = words.iter().filter(|(_, meaning)| meaning.is_empty());
    found.extend(bare.map(|(word, _)| format!("{word:?} has no meaning")));
    if words.is_empty() {
        found.push("the lexicon is empty".to_owned());
    }
    Ok(found)
}

/// The rows of the table below its head.
fn words(text: &str) -> Vec<(&str, &str)> {
    text.lines()
        .filter(|line| line.starts_with('|'))
        .skip(2)
        .filter_map(|line| {
            let mut cells = line.trim_matches('|').split('|').map(str::trim);
            Some((cells.next()?, cells.next()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_words_with_meanings() {
        let text = "# Lexicon\n\n| word | meaning |\n|---|---|\n| attempt | one try |\n";
        assert_eq!(words(text), [("attempt", "one try")]);
    }
}

//! The files of a configuration and places in them, with secrets masked for display.
//!
//! Faults show the line they are about. A line may hold a secret, written there by mistake, so
//! what is shown is a copy of the text in which values behind secret-looking keys and passwords
//! in URLs are replaced by asterisks, byte for byte, so that columns stay true.

use std::path::PathBuf;

/// A place in one of the files: byte offsets into its text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) file: u32,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// One file of the configuration.
#[derive(Debug)]
pub(crate) struct File {
    /// As messages show it.
    pub(crate) name: String,
    /// What paths in it are relative to.
    pub(crate) folder: PathBuf,
    /// The text with secrets masked.
    pub(crate) shown: String,
}

impl File {
    pub(crate) fn new(name: String, folder: PathBuf, text: &str) -> Self {
        Self { name, folder, shown: mask_secrets(text) }
    }

    /// Line and column of a byte offset, both from 1; the column counts characters.
    pub(crate) fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.shown.get(..offset).unwrap_or(&self.shown);
        let start_of_line = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.matches('\n').count() + 1;
        (line, before[start_of_line..].chars().count() + 1)
    }

    /// The nearest offset at or before this one that begins a character.
    pub(crate) fn boundary(&self, offset: usize) -> usize {
        let mut offset = offset.min(self.shown.len());
        while !self.shown.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }

    /// Where the line that holds a byte offset begins.
    pub(crate) fn line_start(&self, offset: usize) -> usize {
        self.shown[..self.boundary(offset)].rfind('\n').map_or(0, |at| at + 1)
    }

    /// The line that holds a byte offset, without its end.
    pub(crate) fn line_at(&self, offset: usize) -> &str {
        let offset = self.boundary(offset);
        let start = self.line_start(offset);
        let end = self.shown[offset..].find('\n').map_or(self.shown.len(), |at| offset + at);
        self.shown[start..end].trim_end_matches('\r')
    }

    /// The byte offset of a line and column, both from 1, the column in characters.
    pub(crate) fn offset(&self, line: u64, column: u64) -> usize {
        let lines_before = usize::try_from(line.saturating_sub(1)).unwrap_or(usize::MAX);
        let start: usize = self.shown.split_inclusive('\n').take(lines_before).map(str::len).sum();
        let skipped = usize::try_from(column.saturating_sub(1)).unwrap_or(usize::MAX);
        start + self.shown[start..].chars().take(skipped).map(char::len_utf8).sum::<usize>()
    }
}

/// Parts of a key that make its value a secret.
const SECRET_WORDS: [&str; 9] = [
    "authorization",
    "password",
    "passwd",
    "secret",
    "token",
    "api-key",
    "apikey",
    "cookie",
    "credential",
];

/// Whether a value under this key is a secret. Keys that name a file are none.
pub(crate) fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('_', "-");
    !key.ends_with("-file") && SECRET_WORDS.iter().any(|word| key.contains(word))
}

/// The text with what may be a secret replaced by asterisks of the same length.
fn mask_secrets(text: &str) -> String {
    text.split_inclusive('\n').map(|line| mask_passwords(&mask_values(line))).collect()
}

/// Masks what follows `key:` where the key is secret, up to the end of the value.
fn mask_values(line: &str) -> String {
    let mut shown = line.to_owned();
    for (colon, _) in line.match_indices(':') {
        let before = line[..colon].trim_end_matches(['"', '\'']);
        let key_start = before
            .rfind(|c: char| !c.is_alphanumeric() && c != '-' && c != '_')
            .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
        if is_secret_key(&before[key_start..]) {
            mask_value_at(&mut shown, line, colon + 1);
        }
    }
    shown
}

/// Masks one value; a mapping (`{file: ...}`) names where the secret is and is left alone.
fn mask_value_at(shown: &mut String, line: &str, from: usize) {
    let value = line[from..].trim_start();
    let start = line.len() - value.len();
    if value.starts_with('{') {
        return;
    }
    let end = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => value[1..].find(quote).map_or(value.len(), |at| at + 2),
        _ => value.find([',', '}']).unwrap_or(value.len()),
    };
    hide(shown, start, start + value[..end].trim_end().len());
}

/// Masks `user:password` in `scheme://user:password@host`.
fn mask_passwords(line: &str) -> String {
    let mut shown = line.to_owned();
    for (at, _) in line.match_indices("://") {
        let start = at + 3;
        let authority = line[start..].split(['/', ' ', '"', '\'', ',']).next().unwrap_or_default();
        if let Some(end) = authority.rfind('@') {
            hide(&mut shown, start, start + end);
        }
    }
    shown
}

/// Replaces the bytes from `start` to `end`, both on character boundaries, by asterisks.
fn hide(shown: &mut String, start: usize, end: usize) {
    if start < end {
        shown.replace_range(start..end, &"*".repeat(end - start));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_and_columns_stay() {
        let text = "headers: {authorization: Bearer é1, x: y}\n  \"api_key\": 'a, b'  # why\n\
                    url: http://me:pass@host:80/x\ntoken: {file: /run/t}\ntoken-file: /run/t\n";
        let shown = mask_secrets(text);
        assert_eq!(shown.len(), text.len());
        assert_eq!(
            shown,
            "headers: {authorization: **********, x: y}\n  \"api_key\": ******  # why\n\
             url: http://*******@host:80/x\ntoken: {file: /run/t}\ntoken-file: /run/t\n"
        );
    }

    #[test]
    fn positions_count_characters_from_one() {
        let file = File::new("f".into(), PathBuf::new(), "a: é\nbé: c\n");
        assert_eq!(file.position(0), (1, 1));
        assert_eq!(file.position(file.offset(2, 5)), (2, 5));
        assert_eq!(file.line_at(file.offset(2, 5)), "bé: c");
        assert_eq!(file.position(9999), (3, 1));
    }
}

//! Pure crates use nothing of the standard library that reaches outside the process.
//!
//! Dependencies are the rings' affair (`rings`); this reads the sources, because `std` cannot be
//! taken out of a manifest. `no_std` would say the same and costs the collections and `Duration`
//! formatting that the crates do use. Tests may use threads and files.

use std::path::Path;

use super::rings;
use crate::source::{self, File};

/// What pure crates may not name, and why.
const BANNED: [(&str, &str); 8] = [
    ("std::env", "settings are values"),
    ("std::fs", "files are read by shells"),
    ("std::net", "sockets belong to shells"),
    ("std::process", "processes belong to shells"),
    ("std::thread", "threads belong to shells"),
    ("Instant::now", "time is passed in as a Moment"),
    ("SystemTime", "time is passed in as a Moment"),
    ("Rng::new()", "chance is passed in, seeded by the caller"),
];

/// Every banned name in production code of the pure ring.
pub(super) fn findings(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for name in rings::pure(root)? {
        let files = source::files(&root.join("crates").join(&name).join("src"), "rs")?;
        let production = files.iter().filter(|file| !file.is_test());
        found.extend(production.flat_map(banned).map(|finding| format!("{name}: {finding}")));
    }
    Ok(found)
}

fn banned(file: &File) -> Vec<String> {
    let lines = file.production().lines().enumerate();
    let code = lines.filter(|(_, line)| !line.trim_start().starts_with("//"));
    code.flat_map(|(number, line)| {
        let hits = BANNED.iter().filter(move |(name, _)| line.contains(name));
        hits.map(move |(name, why)| format!("{}:{}: {name}: {why}", file.path, number + 1))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_tests_may_say_what_code_may_not() {
        let text = "//! No std::net here.\nuse std::time::Duration;\n#[cfg(test)]\nmod tests {\n    use std::thread;\n}\n";
        let file = File { path: "a.rs".to_owned(), text: text.to_owned() };
        assert!(banned(&file).is_empty());
    }

    #[test]
    fn a_banned_name_is_shown_with_its_line() {
        let text = "//! Reads.\n\nuse std::fs;\n";
        let file = File { path: "a.rs".to_owned(), text: text.to_owned() };
        assert_eq!(banned(&file), ["a.rs:3: std::fs: files are read by shells"]);
    }
}

//! Runs every check and prints what it found.
//!
//! A check is a function of the tree that returns findings, one line each; none means that it
//! passed. Long files are reported and never fail: length is a smell, not a fault.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

mod dependencies;
mod errors;
mod headers;
mod lengths;
mod lexicon;
mod links;
mod purity;
mod rings;

/// A check: its name and what it looks at.
type Check = (&'static str, fn(&Path) -> anyhow::Result<Vec<String>>);

const CHECKS: [Check; 7] = [
    ("rings", rings::findings),
    ("purity", purity::findings),
    ("dependencies", dependencies::findings),
    ("errors", errors::findings),
    ("headers", headers::findings),
    ("lexicon", lexicon::findings),
    ("links", links::findings),
];

/// Runs all of them below `root`; the exit code is 1 if any found something.
pub(crate) fn run(root: &Path) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    let mut found = 0;
    for (name, check) in CHECKS {
        let findings = check(root)?;
        writeln!(out, "{name}: {}", verdict(findings.len()))?;
        for finding in &findings {
            writeln!(out, "  {finding}")?;
        }
        found += findings.len();
    }
    for line in lengths::report(root)? {
        writeln!(out, "{line}")?;
    }
    Ok(if found == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn verdict(findings: usize) -> String {
    match findings {
        0 => "ok".to_owned(),
        1 => "1 fault".to_owned(),
        more => format!("{more} faults"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source;

    fn passes(check: fn(&Path) -> anyhow::Result<Vec<String>>) {
        let findings = check(&source::root()).expect("the tree can be read");
        assert!(findings.is_empty(), "{}", findings.join("\n"));
    }

    #[test]
    fn dependencies_point_inward() {
        passes(rings::findings);
    }

    #[test]
    fn pure_crates_touch_nothing_outside() {
        passes(purity::findings);
    }

    #[test]
    fn every_dependency_is_argued_for() {
        passes(dependencies::findings);
    }

    #[test]
    fn every_error_code_has_its_page() {
        passes(errors::findings);
    }

    #[test]
    fn every_file_says_what_it_is_for() {
        passes(headers::findings);
    }

    #[test]
    fn the_lexicon_has_one_meaning_for_each_word() {
        passes(lexicon::findings);
    }

    #[test]
    fn links_lead_somewhere() {
        passes(links::findings);
    }
}

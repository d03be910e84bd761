//! Configuration files: whatever the text, a configuration or a list of faults, never a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_config::{Config, render_graphical, render_plain};

fuzz_target!(|text: &str| check(text));

fn check(text: &str) {
    let Err(errors) = Config::parse("fuzz.yaml", text) else { return };
    assert!(!errors.faults().is_empty());
    for fault in errors.faults() {
        let within = fault.position().is_none_or(|(line, _)| line <= text.lines().count() + 1);
        assert!(within, "{fault} lies outside the text");
    }
    let _ = render_plain(errors.faults());
    let _ = render_graphical(errors.faults(), 80, true);
}

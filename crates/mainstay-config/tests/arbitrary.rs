//! Whatever the text, the answer is a configuration or a list of faults, never a panic.

use mainstay_config::{Config, render_graphical};
use proptest::prelude::*;

const EXAMPLE: &str = include_str!("five_faults.yaml");

/// Parses and shows; what is shown has a place within the text.
fn survives(text: &str) {
    if let Err(errors) = Config::parse("t", text) {
        assert!(!errors.faults().is_empty());
        let _ = errors.to_string();
        let _ = render_graphical(errors.faults(), 80, true);
    }
}

proptest! {
    #[test]
    fn any_text_is_survived(text in "\\PC{0,200}") {
        survives(&text);
    }

    #[test]
    fn any_yaml_like_text_is_survived(
        words in proptest::collection::vec(
            prop_oneof![
                Just("pools: "), Just("models: "), Just("{"), Just("}"), Just("["), Just("]"),
                Just("\n  "), Just("\n"), Just(": "), Just(", "), Just("- "), Just("chain: "),
                Just("default: "), Just("outputs: "), Just("5"), Just("x"), Just("&a "), Just("*a"),
                Just("<<: "), Just("'"), Just("\""), Just("é"), Just("\t"), Just("\r\n"), Just("|"),
            ],
            0..60,
        )
    ) {
        survives(&words.concat());
    }

    #[test]
    fn any_damage_to_a_file_is_survived(at in 0..EXAMPLE.len(), len in 0_usize..20, with in "\\PC{0,5}") {
        let mut text = EXAMPLE.to_owned();
        let end = (at + len).min(text.len());
        text.replace_range(at..end, &with);
        survives(&text);
    }
}

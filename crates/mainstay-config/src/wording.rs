//! How faults of reading are told: in the words of the file, with the nearest name.

use crate::code::Code;
use crate::fault::Fault;
use crate::reader::{Cause, shorten};

/// Names less alike than this are no suggestion (Jaro-Winkler, as clap's).
const ALIKE: f64 = 0.8;

/// The fault for what the reader found.
pub(crate) fn fault(cause: Cause) -> Fault {
    match cause {
        Cause::UnknownKey { key, known } => {
            let help = suggestion(&key, known.iter().copied(), "the keys here are");
            Fault::new(Code::UnknownKey, format!("unknown key {:?}", shorten(&key)), help)
        }
        Cause::UnknownChoice { found, known } => {
            let help = suggestion(&found, known.iter().copied(), "the choices are");
            Fault::new(
                Code::BadValue,
                format!("{:?} is not one of the choices", shorten(&found)),
                help,
            )
        }
        Cause::WrongType { found, expected } => mismatch(Code::WrongType, &found, &expected),
        Cause::BadValue { found, expected } => mismatch(Code::BadValue, &found, &expected),
        Cause::Missing(key) => Fault::new(Code::Missing, format!("{key:?} is missing"), "add it"),
        Cause::Other(message) => Fault::new(Code::WrongType, message, ""),
    }
}

/// `expected` may carry a remedy behind `; `.
fn mismatch(code: Code, found: &str, expected: &str) -> Fault {
    let expected = plain(expected);
    let (expected, remedy) = expected.split_once("; ").unwrap_or((expected, ""));
    Fault::new(code, format!("expected {expected}, found {found}"), remedy)
}

/// Rust's names for types, in the words of YAML's users.
fn plain(expected: &str) -> &str {
    match expected {
        "u8" => "a whole number from 0 to 255; write it without a unit and without quotes",
        "u16" => "a whole number from 0 to 65535; write it without a unit and without quotes",
        "u32" => "a whole number from 0 to 4294967295; write it without a unit and without quotes",
        "i64" => "a whole number; write it without quotes",
        "f32" | "f64" => "a number; write it without a unit and without quotes",
        "a boolean" => "true or false; write one of the two, without quotes",
        "a string" => "a text; write it on the same line, in quotes if need be",
        "a sequence" => "a list; write [a, b], or each element on a line behind a dash",
        other => other,
    }
}

/// The nearest of the known names, or all of them.
pub(crate) fn suggestion<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
    otherwise: &str,
) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(name, &known) {
        Some(near) => format!("did you mean {near:?}?"),
        None if known.is_empty() => String::new(),
        None => format!("{otherwise}: {}", known.join(", ")),
    }
}

fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let likeness = |other: &str| {
        strsim::jaro_winkler(&name.to_lowercase().replace('_', "-"), &other.to_lowercase())
    };
    known
        .iter()
        .map(|other| (likeness(other), *other))
        .filter(|(likeness, _)| *likeness > ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, other)| other)
}

/// What to look for where the parser stopped.
pub(crate) fn syntax_help(message: &str) -> &'static str {
    if message.contains("anchor") {
        "a * begins an alias; put it in quotes: the model that takes any name is \"*\""
    } else {
        "check indentation, colons, quotes and brackets at this place"
    }
}

/// The parser's message without the place, which is shown beside it.
pub(crate) fn syntax_message(message: &str) -> String {
    let end = message.rfind(" at line ").unwrap_or(message.len());
    format!("not valid YAML: {}", shorten(&message[..end]))
}

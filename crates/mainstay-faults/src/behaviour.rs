//! The ways to misbehave, by the names that scripts use.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};

/// What becomes of one request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Behaviour {
    /// `ok`: a good answer.
    Ok,
    /// `refused`: the listener is closed and every connection cut, for as long as the rule holds.
    Refused,
    /// `hang-up`: the connection is closed properly before a byte is answered.
    HangUp,
    /// `reset`: reset before a byte is answered.
    Reset,
    /// `reset-body`: the head and half of the body, then a reset.
    ResetBody,
    /// `black-hole`: nothing is ever answered.
    BlackHole,
    /// `slow-header`: the head comes byte by byte, with the rule's `pause` between.
    SlowHeader,
    /// `slow-drip`: the head at once, the body byte by byte.
    SlowDrip,
    /// `not-ready`: 400 as Triton says that a model is not there.
    NotReady,
    /// A status from 400 to 599 with an error in JSON, such as `500` or `429`.
    Status(u16),
    /// `empty`: 200 without a body.
    Empty,
    /// `malformed`: 200 with a body that is no JSON.
    Malformed,
    /// `truncated`: 200 with half of the JSON, properly framed.
    Truncated,
    /// `long-length`: announces more than it sends, and keeps the connection.
    LongLength,
    /// `short-length`: announces less than it sends.
    ShortLength,
    /// `low-confidence`: a proper answer whose `probabilities` are all alike.
    LowConfidence,
    /// `nan`: a proper answer but that `y` is NaN.
    Nan,
    /// `wrong-answer`: a proper answer with a wrong `y`.
    WrongAnswer,
    /// `wrong-shape`: an output of another shape than the metadata says.
    WrongShape,
    /// `cut`: a stream whose connection is closed after the rule's `events`, without its end.
    Cut,
    /// `stall`: a stream that is silent after the rule's `events`.
    Stall,
    /// `keep-alives`: comments for ever after the rule's `events`, with its `pause` between.
    KeepAlives,
    /// `malformed-chunk`: an event that is no JSON after the rule's `events`.
    MalformedChunk,
    /// `error-inside`: an error in the place of an answer whose status is 200; in a stream after
    /// the rule's `events`.
    ErrorInside,
    /// `no-done`: a stream that ends properly, without a reason to finish and its mark of the end.
    NoDone,
    /// `slow-tokens`: a good stream with the rule's `pause` between its words.
    SlowTokens,
}

/// Names, and whether the model has run before the fault shows.
const NAMED: [(&str, Behaviour, bool); 25] = [
    ("ok", Behaviour::Ok, true),
    ("refused", Behaviour::Refused, false),
    ("hang-up", Behaviour::HangUp, false),
    ("reset", Behaviour::Reset, false),
    ("reset-body", Behaviour::ResetBody, true),
    ("black-hole", Behaviour::BlackHole, false),
    ("slow-header", Behaviour::SlowHeader, true),
    ("slow-drip", Behaviour::SlowDrip, true),
    ("not-ready", Behaviour::NotReady, false),
    ("empty", Behaviour::Empty, true),
    ("malformed", Behaviour::Malformed, true),
    ("truncated", Behaviour::Truncated, true),
    ("long-length", Behaviour::LongLength, true),
    ("short-length", Behaviour::ShortLength, true),
    ("low-confidence", Behaviour::LowConfidence, true),
    ("nan", Behaviour::Nan, true),
    ("wrong-answer", Behaviour::WrongAnswer, true),
    ("wrong-shape", Behaviour::WrongShape, true),
    ("cut", Behaviour::Cut, true),
    ("stall", Behaviour::Stall, true),
    ("keep-alives", Behaviour::KeepAlives, true),
    ("malformed-chunk", Behaviour::MalformedChunk, true),
    ("error-inside", Behaviour::ErrorInside, false),
    ("no-done", Behaviour::NoDone, true),
    ("slow-tokens", Behaviour::SlowTokens, true),
];

impl Behaviour {
    /// Whether it is about streams, or about what stands inside an answer.
    pub(crate) const fn is_of_streams(self) -> bool {
        matches!(
            self,
            Self::Cut
                | Self::Stall
                | Self::KeepAlives
                | Self::MalformedChunk
                | Self::ErrorInside
                | Self::NoDone
                | Self::SlowTokens
        )
    }

    /// Whether the model has run by the time the fault shows, unless the rule says otherwise.
    #[must_use]
    pub fn executes(self) -> bool {
        NAMED.iter().any(|(_, behaviour, executes)| *behaviour == self && *executes)
    }
}

impl fmt::Display for Behaviour {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Status(status) = self {
            return write!(out, "{status}");
        }
        let name = NAMED.iter().find(|(_, behaviour, _)| behaviour == self);
        out.write_str(name.map_or("?", |(name, ..)| name))
    }
}

impl FromStr for Behaviour {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((_, behaviour, _)) = NAMED.iter().find(|(name, ..)| *name == text) {
            return Ok(*behaviour);
        }
        match text.parse() {
            Ok(status @ 400..=599) => Ok(Self::Status(status)),
            _ => {
                let names: Vec<_> = NAMED.iter().map(|(name, ..)| *name).collect();
                Err(format!("{text:?} is none of {} or a status from 400 to 599", names.join(", ")))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Behaviour {
    /// From a name, or a status as a number or text.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Named;
        impl Visitor<'_> for Named {
            type Value = Behaviour;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a behaviour or a status")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Behaviour, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, status: u64) -> Result<Behaviour, E> {
                self.visit_str(&status.to_string())
            }

            fn visit_i64<E: de::Error>(self, status: i64) -> Result<Behaviour, E> {
                self.visit_str(&status.to_string())
            }
        }
        deserializer.deserialize_any(Named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back() {
        for (name, behaviour, _) in NAMED {
            assert_eq!(name.parse(), Ok(behaviour));
            assert_eq!(behaviour.to_string(), name);
        }
        assert_eq!("529".parse(), Ok(Behaviour::Status(529)));
        assert!("200".parse::<Behaviour>().unwrap_err().contains("slow-drip"));
    }
}

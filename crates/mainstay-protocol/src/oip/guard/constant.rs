//! A model that gives everyone the same answer, whatever it is asked.
//!
//! That happens when a feature store behind it is gone, when weights are all zero, or when an
//! input is silently dropped. Each single answer looks well, so only a row of them can tell. The
//! same *request* rightly gets the same answer, so only answers to different requests count.
//!
//! ```text
//! varied ── the same answer to `answers` different requests, for at least `lasting` ──▶ constant
//!    ▲                                                                                    │
//!    └──────────────────────────── another answer ───────────────────────────────────────┘
//! ```
//!
//! What is remembered is one fingerprint, one count and one time: nothing grows with traffic.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::time::Duration;

use mainstay_policy::Moment;

use crate::Data;
use crate::oip::answer::Response;

/// When a row of equal answers is an alarm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The outputs that are compared; none means all of them.
    pub outputs: Vec<String>,
    /// Equal answers to different requests; at least 2. Default 100.
    pub answers: u32,
    /// How long they have been equal at the least. Default 1 min: a burst of alike requests is
    /// no failure.
    pub lasting: Duration,
    /// What follows. Default an alarm.
    pub then: Then,
}

/// What follows from a constant output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Then {
    /// An event and a metric; the answers stand.
    #[default]
    Alarm,
    /// The answers count as none, until another one comes.
    Reject,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            outputs: Vec::new(),
            answers: 100,
            lasting: Duration::from_secs(60),
            then: Then::Alarm,
        }
    }
}

/// One answer, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The fingerprint of the answer's rows; `None` where they differ from each other.
    pub answer: Option<u64>,
    /// The fingerprint of the request.
    pub request: u64,
}

/// The row of equal answers so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sameness {
    answer: Option<u64>,
    request: u64,
    count: u32,
    since: Moment,
    constant: bool,
}

/// A change, with its cause as Display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// From varied to constant.
    Constant {
        /// Equal answers to different requests.
        answers: u32,
        /// How long they have been equal.
        lasted: Duration,
    },
    /// Another answer came.
    Varied,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant { answers, lasted } => write!(
                f,
                "the same answer to {answers} different requests in {:.1} s",
                lasted.as_secs_f64()
            ),
            Self::Varied => f.write_str("another answer came"),
        }
    }
}

impl Sameness {
    /// Whether the output is held to be constant.
    #[must_use]
    pub const fn is_constant(self) -> bool {
        self.constant
    }

    /// Counts an answer; the change, if it was the one that decided.
    #[must_use]
    pub fn step(self, seen: Seen, now: Moment, settings: &Settings) -> (Self, Option<Change>) {
        if seen.answer.is_none() || seen.answer != self.answer {
            let fresh = Self {
                answer: seen.answer,
                request: seen.request,
                count: u32::from(seen.answer.is_some()),
                since: now,
                constant: false,
            };
            return (fresh, self.constant.then_some(Change::Varied));
        }
        let another = u32::from(seen.request != self.request);
        let count = self.count.saturating_add(another);
        let lasted = now.since(self.since);
        let constant = count >= settings.answers.max(2) && lasted >= settings.lasting;
        let change =
            (constant && !self.constant).then_some(Change::Constant { answers: count, lasted });
        let constant = constant || self.constant;
        (Self { request: seen.request, count, constant, ..self }, change)
    }
}

/// The fingerprint of an answer by these outputs (all of them where none is named); `rows` where
/// the first dimension is a batch. `None` where rows differ, or there are none.
#[must_use]
pub fn fingerprint(response: &Response, outputs: &[String], rows: Option<usize>) -> Option<u64> {
    let count = rows.unwrap_or(1);
    let mut rows = (0..count).map(|row| of_row(response, outputs, (row, count)));
    let first = rows.next()?;
    rows.all(|other| other == first).then_some(first)
}

fn of_row(response: &Response, outputs: &[String], (row, rows): (usize, usize)) -> u64 {
    let mut hasher = DefaultHasher::new();
    let looked_at = |name: &String| outputs.is_empty() || outputs.contains(name);
    for tensor in response.outputs.iter().filter(|tensor| looked_at(&tensor.name)) {
        let width = tensor.data.len() / rows;
        hash(&tensor.data, row * width..(row + 1) * width, &mut hasher);
    }
    hasher.finish()
}

/// The fingerprint of a request's bytes.
#[must_use]
pub fn of_bytes(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

fn hash(data: &Data, range: Range<usize>, into: &mut DefaultHasher) {
    match data {
        Data::Bool(values) => values[range].hash(into),
        Data::Uint8(values) => values[range].hash(into),
        Data::Uint16(values) | Data::Fp16(values) | Data::Bf16(values) => values[range].hash(into),
        Data::Uint32(values) => values[range].hash(into),
        Data::Uint64(values) => values[range].hash(into),
        Data::Int8(values) => values[range].hash(into),
        Data::Int16(values) => values[range].hash(into),
        Data::Int32(values) => values[range].hash(into),
        Data::Int64(values) => values[range].hash(into),
        Data::Fp32(values) => values[range].iter().for_each(|value| value.to_bits().hash(into)),
        Data::Fp64(values) => values[range].iter().for_each(|value| value.to_bits().hash(into)),
        Data::Bytes(values) => values[range].hash(into),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tensor;

    fn settings() -> Settings {
        Settings { answers: 3, lasting: Duration::from_secs(1), ..Settings::default() }
    }

    /// The changes of a row of (answer, request, millisecond).
    fn changes(row: &[(Option<u64>, u64, u64)]) -> Vec<String> {
        let mut state = Sameness::default();
        let mut changes = Vec::new();
        for (answer, request, millis) in row.iter().copied() {
            let at = Moment::from_millis(millis);
            let (next, change) = state.step(Seen { answer, request }, at, &settings());
            changes.extend(change.map(|change| change.to_string()));
            state = next;
        }
        changes
    }

    #[test]
    fn the_same_answer_to_different_requests_for_long_enough_is_constant() {
        let same = Some(7);
        let row = [(same, 1, 0), (same, 2, 10), (same, 3, 20), (same, 4, 1000), (same, 5, 1100)];
        assert_eq!(changes(&row), ["the same answer to 4 different requests in 1.0 s"]);
        let ends = [row.as_slice(), &[(Some(8), 6, 1200), (same, 7, 1300)]].concat();
        assert_eq!(changes(&ends)[1..], ["another answer came"]);
    }

    #[test]
    fn the_same_request_and_differing_rows_say_nothing() {
        let repeated: Vec<_> = (0..50).map(|at| (Some(7), 1, at * 100)).collect();
        assert!(changes(&repeated).is_empty());
        let differing: Vec<_> = (0..50).map(|at| (None, at, at * 100)).collect();
        assert!(changes(&differing).is_empty());
        let burst: Vec<_> = (0..50).map(|at| (Some(7), at, at)).collect();
        assert!(changes(&burst).is_empty(), "50 ms are no long row");
    }

    #[test]
    fn rows_of_a_batch_are_compared_with_each_other() {
        let answer = |values: &[f32]| Response {
            outputs: vec![Tensor {
                name: "y".into(),
                shape: vec![values.len()],
                data: Data::Fp32(values.to_vec()),
            }],
            ..Response::default()
        };
        let print = |values: &[f32]| fingerprint(&answer(values), &[], Some(values.len()));
        assert_eq!(print(&[1.0, 1.0, 1.0]), print(&[1.0]));
        assert_ne!(print(&[1.0]), print(&[2.0]));
        assert_eq!(print(&[1.0, 2.0]), None);
        assert_eq!(print(&[]), None);
        let other = fingerprint(&answer(&[1.0]), &["z".to_owned()], Some(1));
        assert_eq!(other, fingerprint(&answer(&[2.0]), &["z".to_owned()], Some(1)));
    }
}

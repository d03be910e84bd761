//! What operators may tell a gateway to do with its endpoints, and what it answers.
//!
//! An order is carried out, kept and shown until it ends; the same order as a dry run only says
//! what would come of it.

use std::time::Duration;

use mainstay_control::forecast::Forecast;
use mainstay_control::orders::Scope;
use serde::{Deserialize, Serialize};

/// An operator's order.
#[derive(Clone, Debug, PartialEq)]
pub struct Instruction {
    /// What is to be done.
    pub act: Act,
    /// Whom it meets.
    pub scope: Scope,
    /// Why; kept with the order, and in its event.
    pub reason: String,
    /// When it ends by itself; `None` holds until it is taken back.
    pub lasts: Option<Duration>,
    /// Whether it is carried out though too little would be left.
    pub force: bool,
    /// Whether nothing is to be done but to say what would happen.
    pub dry_run: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// No new requests; what is in flight is finished.
    Drain,
    /// The end of a drain.
    Undrain,
    /// Never asked.
    Maintenance,
    /// The end of maintenance.
    EndMaintenance,
    /// The weight is multiplied by this factor; 1 is as configured.
    Weight(f32),
    /// Seats of the pool go to others.
    Failover {
        /// Who takes the seat; `None` for whom the pool's rule prefers.
        to: Option<String>,
    },
    /// Seats go back to those whom the pool's rule prefers.
    Failback,
}

impl Act {
    /// The verb, as the API has it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Undrain => "undrain",
            Self::Maintenance => "maintenance",
            Self::EndMaintenance => "end-maintenance",
            Self::Weight(_) => "weight",
            Self::Failover { .. } => "failover",
            Self::Failback => "failback",
        }
    }
}

/// What came of an order, or would come of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Carried {
    /// Whether it was carried out; false for a dry run.
    pub done: bool,
    /// The endpoints that it meets.
    pub endpoints: Vec<Met>,
    /// Why it would be refused without force; only in dry runs.
    #[serde(default)]
    pub refused: Vec<String>,
    /// What would come of it, as it looked before.
    pub forecast: Forecast,
}

/// An endpoint that an order meets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Met {
    /// Its pool's name.
    pub pool: String,
    /// Its name.
    pub endpoint: String,
    /// What it was before.
    pub from: String,
    /// What it is then.
    pub to: String,
    /// Requests that are under way there.
    pub in_flight: u32,
}

/// An order that holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OrderStatus {
    /// Whom it meets: `fraud-v2/10.0.0.1:8000`, `zone eu-west-1a`, `pool fraud-v2`.
    pub scope: String,
    /// What it says: `drain`, `maintenance`, `weight 0.5`, `failover to b`.
    pub order: String,
    /// Why.
    pub reason: String,
    /// How long it has held.
    pub since_seconds: f64,
    /// How long it still holds; none where it is until it is taken back.
    pub until_seconds: Option<f64>,
    /// Whether nothing that it is about is configured.
    #[serde(default)]
    pub orphaned: bool,
}

/// Why an order is not carried out.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// Nothing has that name.
    #[error("{}", unknown(.what, .name, .known))]
    Unknown {
        /// What was looked for: `pool`, `endpoint of pool p`, `zone`.
        what: String,
        /// The name that was given.
        name: String,
        /// The names that there are.
        known: Vec<String>,
    },
    /// Too little would be left; `force` does it nevertheless.
    #[error("{}; with force it is done nevertheless", .0.join("; "))]
    TooLittle(Vec<String>),
    /// As things stand there is nothing to do; says why.
    #[error("{0}")]
    Pointless(String),
    /// It could not be kept, and so was not carried out.
    #[error("the order could not be kept in {path}, and so was not carried out: {source}")]
    NotKept {
        /// The file.
        path: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

/// Names less alike than this are no suggestion (Jaro-Winkler, as clap's).
const ALIKE: f64 = 0.8;
/// So many names are listed.
const LISTED: usize = 20;

fn unknown(what: &str, name: &str, known: &[String]) -> String {
    let alike = known.iter().map(|other| (strsim::jaro_winkler(name, other), other));
    let best = alike.filter(|(alike, _)| *alike >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0));
    let meant = best.map(|(_, best)| format!(" Did you mean {best:?}?")).unwrap_or_default();
    let listed: Vec<_> = known.iter().take(LISTED).map(String::as_str).collect();
    let more = if known.len() > LISTED { ", ..." } else { "" };
    match listed[..] {
        [] => format!("there is no {what} {name:?}, nor any other"),
        _ => format!("there is no {what} {name:?}.{meant} There is: {}{more}", listed.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest_and_with_all() {
        let error = |name: &str, known: &[&str]| {
            let known = known.iter().map(ToString::to_string).collect();
            OrderError::Unknown { what: "pool".to_owned(), name: name.to_owned(), known }
                .to_string()
        };
        let known = ["fraud-v1", "ranking"];
        let expected = "there is no pool \"fruad-v1\". Did you mean \"fraud-v1\"? \
                        There is: fraud-v1, ranking";
        assert_eq!(error("fruad-v1", &known), expected);
        assert!(!error("other", &known).contains("mean"));
        assert_eq!(error("x", &[]), "there is no pool \"x\", nor any other");
    }
}

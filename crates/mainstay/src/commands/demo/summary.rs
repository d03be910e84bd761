//! The figures at the end: tables for people, one JSON object for programs.

use std::collections::BTreeMap;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::journal::{Journal, Source};
use super::measure;
use super::view::share;

/// Everything that came of a demo.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    requests: usize,
    /// Requests that were not answered with a prediction.
    pub(super) client_errors: usize,
    degraded: usize,
    served_by: BTreeMap<&'static str, usize>,
    /// The share of right answers; no entry for a source that gave none.
    accuracy: BTreeMap<&'static str, f64>,
    faults: Vec<FaultSummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_error: Option<String>,
}

/// One fault and how long it mattered; `null` where it never came.
#[derive(Debug, Serialize)]
struct FaultSummary {
    kind: String,
    target: String,
    detected_ms: Option<f64>,
    switched_ms: Option<f64>,
    recovered_ms: Option<f64>,
}

impl Summary {
    /// Adds everything up.
    pub(super) fn of(journal: &Journal) -> Self {
        let faults = journal.struck.iter().map(|struck| {
            let times = measure::times(journal, struck);
            FaultSummary {
                kind: struck.fault.kind.to_string(),
                target: struck.fault.target.to_string(),
                detected_ms: times.detected.map(millis),
                switched_ms: times.switched.map(millis),
                recovered_ms: times.recovered.map(millis),
            }
        });
        let served_by = Source::ALL.map(|source| (source.as_str(), journal.by(source).0));
        let accuracy = Source::ALL.into_iter().filter_map(|source| {
            let (answers, right) = journal.by(source);
            (answers > 0).then(|| (source.as_str(), right as f64 / answers as f64))
        });
        Self {
            requests: journal.played.len(),
            client_errors: journal.client_errors(),
            degraded: journal.played.iter().filter(|played| played.degraded).count(),
            served_by: served_by.into(),
            accuracy: accuracy.collect(),
            faults: faults.collect(),
            first_error: journal.first_error.clone(),
        }
    }

    /// Writes it on standard output.
    pub(super) fn print(&self, json: bool, journal: &Journal) -> anyhow::Result<()> {
        if json {
            println!("{}", serde_json::to_string(self)?);
            return Ok(());
        }
        println!(
            "\n{} requests, {} errors seen by clients, {} answers of lesser quality (and marked so)\n",
            self.requests, self.client_errors, self.degraded
        );
        if let Some(error) = &self.first_error {
            println!("the first error: {error}\n");
        }
        println!("{}\n\n{}\n", sources(journal), self.fault_table());
        println!(
            "detected: from the fault to the first failed attempt or change of verdict\n\
             switched: from the fault to the first answer that others gave in its place\n\
             recovered: from the restart (or SIGCONT) to the first answer by what had failed"
        );
        Ok(())
    }

    fn fault_table(&self) -> Table {
        let mut table = table(&["fault", "detected", "switched", "recovered"]);
        for fault in &self.faults {
            table.add_row([
                format!("{} {}", fault.kind, fault.target),
                time(fault.detected_ms),
                time(fault.switched_ms),
                time(fault.recovered_ms),
            ]);
        }
        right_aligned(table)
    }
}

fn sources(journal: &Journal) -> Table {
    let mut table = table(&["answered by", "answers", "right", "what it is"]);
    for source in Source::ALL {
        let (answers, right) = journal.by(source);
        let what = match source {
            Source::Forest => "50 random trees on 3 servers: the first pool",
            Source::Boosting => "an older boosting on 2 servers: the second pool",
            Source::Embedded => "a logistic regression inside the gateway",
            Source::Default => "\"unknown\", where the small model was not sure",
        };
        table.add_row([
            source.as_str().to_owned(),
            answers.to_string(),
            share(right, answers),
            what.to_owned(),
        ]);
    }
    let mut table = right_aligned(table);
    if let Some(column) = table.column_mut(3) {
        column.set_cell_alignment(CellAlignment::Left);
    }
    table
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(header);
    table
}

/// All columns but the first hold figures.
fn right_aligned(mut table: Table) -> Table {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e4).round() / 10.0
}

fn time(ms: Option<f64>) -> String {
    match ms {
        None => "never".to_owned(),
        Some(ms) if ms < 1e3 => format!("{ms:.0} ms"),
        Some(ms) => format!("{:.1} s", ms / 1e3),
    }
}

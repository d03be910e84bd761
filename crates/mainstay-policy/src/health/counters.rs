//! What servers count themselves, as they show it to Prometheus: which series mean what.
//!
//! A server's own counters see the requests of all its clients, so they tell "busy with others"
//! from "hung" where our own traffic is thin. The mapping is data: one row for each kind of
//! server, from its own documentation.
//!
//! | kind | advances with each request done | not done yet | source |
//! |---|---|---|---|
//! | triton | `nv_inference_request_success`, `_failure` | `nv_inference_pending_request_count` | Triton user guide, Metrics |
//! | vllm | `vllm:request_success_total`, tokens | `vllm:num_requests_running`, `_waiting` | vLLM, Production Metrics |
//! | mlserver | `model_infer_request_success_total`, `_failure_total` | (per server only) | `MLServer` user guide, Metrics |
//! | torchserve | `ts_inference_latency_microseconds` | (none) | `TorchServe`, Metrics API |
//!
//! `TorchServe` counts a request when it comes (`ts_inference_requests_total`), which a hung
//! worker does not stop; its cumulated latency grows only when one is done.

use std::borrow::Cow;

use crate::Moment;

/// Whose names the series have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// NVIDIA Triton Inference Server.
    Triton,
    /// vLLM.
    Vllm,
    /// Seldon `MLServer`.
    MlServer,
    /// `PyTorch` `TorchServe`.
    TorchServe,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Triton, Self::Vllm, Self::MlServer, Self::TorchServe];

    /// The kind in one word, as it is configured.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Triton => "triton",
            Self::Vllm => "vllm",
            Self::MlServer => "mlserver",
            Self::TorchServe => "torchserve",
        }
    }

    /// What its series mean.
    #[must_use]
    pub fn mapping(self) -> &'static Mapping {
        match self {
            Self::Triton => &TRITON,
            Self::Vllm => &VLLM,
            Self::MlServer => &MLSERVER,
            Self::TorchServe => &TORCHSERVE,
        }
    }
}

/// What the series of one kind of server mean.
#[derive(Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Where the page is by default; `None`: on the port that serves requests.
    pub port: Option<u16>,
    /// Labels that may hold the model's name.
    pub model: &'static [&'static str],
    /// Labels that may hold its version.
    pub version: &'static [&'static str],
    /// Counters that grow when a request is done (or, in a stream, a part of it). OpenMetrics
    /// readers may see them with `_total` or without.
    pub done: &'static [&'static str],
    /// Gauges of what is not done yet.
    pub undone: &'static [&'static str],
}

static TRITON: Mapping = Mapping {
    port: Some(8002),
    model: &["model"],
    version: &["version"],
    done: &["nv_inference_request_success", "nv_inference_request_failure"],
    undone: &["nv_inference_pending_request_count"],
};

static VLLM: Mapping = Mapping {
    port: None,
    model: &["model_name"],
    version: &[],
    done: &["vllm:request_success", "vllm:generation_tokens", "vllm:prompt_tokens"],
    undone: &["vllm:num_requests_running", "vllm:num_requests_waiting"],
};

static MLSERVER: Mapping = Mapping {
    port: Some(8082),
    model: &["model", "model_name"],
    version: &["version", "model_version"],
    done: &["model_infer_request_success", "model_infer_request_failure"],
    undone: &[],
};

static TORCHSERVE: Mapping = Mapping {
    port: Some(8082),
    model: &["model_name"],
    version: &["model_version"],
    done: &["ts_inference_latency_microseconds"],
    undone: &[],
};

/// What one page says of one model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// The sum of what is done: only whether it grows means something.
    pub done: f64,
    /// Requests that are not done yet.
    pub undone: f64,
    /// Whether the page had anything on this model.
    pub found: bool,
}

impl Mapping {
    /// Adds one sample of a page to what is known of `model` (of any model where it is `*`), in
    /// the `version` that is pinned. `label` gives a label's value by its name.
    pub fn add<'a>(
        &self,
        reading: &mut Reading,
        (model, version): (&str, Option<&str>),
        (name, value): (&str, f64),
        label: impl Fn(&str) -> Option<Cow<'a, str>>,
    ) {
        let stem = name.strip_suffix("_total").unwrap_or(name);
        let (done, undone) = (self.done.contains(&stem), self.undone.contains(&stem));
        let is = |labels: &[&str], wanted: &str| {
            let found = labels.iter().find_map(|name| label(name));
            found.is_none_or(|found| found == wanted)
        };
        let meant = (done || undone)
            && value.is_finite()
            && (model == "*" || is(self.model, model))
            && version.is_none_or(|version| is(self.version, version));
        if !meant {
            return;
        }
        reading.found = true;
        if done {
            reading.done += value;
        } else {
            reading.undone += value;
        }
    }
}

/// How the counters of one model go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// When the page was last read.
    pub read_at: Moment,
    /// When what is done was last seen to have grown.
    pub advanced_at: Option<Moment>,
    /// Since when it has stood still.
    pub flat_since: Moment,
    /// Requests not done at the last reading.
    pub undone: u32,
    /// The last sum of what is done.
    done: f64,
}

impl Trend {
    /// The trend after one more page, read at `now`.
    #[must_use]
    pub fn step(before: Option<Self>, reading: &Reading, now: Moment) -> Option<Self> {
        if !reading.found {
            return None;
        }
        let undone = reading.undone.clamp(0.0, f64::from(u32::MAX)) as u32;
        let done = reading.done;
        let first = Self { read_at: now, advanced_at: None, flat_since: now, undone, done };
        let Some(before) = before else { return Some(first) };
        // Less than before: the server was restarted, and counts again.
        let moved = (done - before.done).abs() > f64::EPSILON;
        Some(Self {
            advanced_at: if moved { Some(now) } else { before.advanced_at },
            flat_since: if moved { now } else { before.flat_since },
            ..first
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Row = (&'static str, &'static [(&'static str, &'static str)], f64);

    fn read(kind: Kind, model: &str, version: Option<&str>, page: &[Row]) -> Reading {
        let mut reading = Reading::default();
        for (name, labels, value) in page {
            let label = |wanted: &str| {
                let found = labels.iter().find(|(name, _)| *name == wanted);
                found.map(|(_, value)| Cow::Borrowed(*value))
            };
            kind.mapping().add(&mut reading, (model, version), (name, *value), label);
        }
        reading
    }

    #[test]
    fn a_model_is_told_from_its_neighbours_and_versions_are_summed() {
        let page: &[Row] = &[
            ("nv_inference_request_success", &[("model", "a"), ("version", "1")], 5.0),
            ("nv_inference_request_success", &[("model", "a"), ("version", "2")], 7.0),
            ("nv_inference_request_success", &[("model", "b"), ("version", "1")], 100.0),
            ("nv_inference_pending_request_count", &[("model", "a"), ("version", "1")], 3.0),
            ("nv_gpu_utilization", &[("gpu_uuid", "x")], 1.0),
        ];
        let both = Reading { done: 12.0, undone: 3.0, found: true };
        assert_eq!(read(Kind::Triton, "a", None, page), both);
        assert!((read(Kind::Triton, "a", Some("2"), page).done - 7.0).abs() < 1e-9);
        assert!((read(Kind::Triton, "*", None, page).done - 112.0).abs() < 1e-9);
        assert!(!read(Kind::Triton, "c", None, page).found);
    }

    #[test]
    fn every_kind_finds_its_own() {
        let pages: [(Kind, &[Row]); 3] = [
            (
                Kind::Vllm,
                &[
                    ("vllm:request_success_total", &[("model_name", "m")], 4.0),
                    ("vllm:num_requests_running", &[("model_name", "m")], 2.0),
                ],
            ),
            (Kind::MlServer, &[("model_infer_request_success_total", &[("model", "m")], 4.0)]),
            (
                Kind::TorchServe,
                &[("ts_inference_latency_microseconds", &[("model_name", "m")], 4.0)],
            ),
        ];
        for (kind, page) in pages {
            let reading = read(kind, "m", None, page);
            assert!(reading.found && (reading.done - 4.0).abs() < 1e-9, "{kind:?}");
        }
    }

    #[test]
    fn a_trend_knows_since_when_nothing_moves() {
        let at = Moment::from_millis;
        let page = |done: f64| Reading { done, undone: 2.0, found: true };
        let first = Trend::step(None, &page(10.0), at(1_000));
        assert_eq!(first.unwrap().advanced_at, None, "one page shows no movement");
        let moved = Trend::step(first, &page(11.0), at(2_000));
        let flat = Trend::step(moved, &page(11.0), at(3_000)).unwrap();
        assert_eq!((flat.advanced_at, flat.flat_since), (Some(at(2_000)), at(2_000)));
        let restarted = Trend::step(Some(flat), &page(0.0), at(4_000)).unwrap();
        assert_eq!(restarted.advanced_at, Some(at(4_000)));
        assert_eq!(Trend::step(Some(flat), &Reading::default(), at(5_000)), None);
    }
}

//! What one call costs, on both engines, with one row and with 64.
//!
//! `cargo bench -p mainstay-onnx`. onnxruntime's part runs where MAINSTAY_ONNXRUNTIME names its
//! library. Inputs are the recorded rows of the conformance suite, so that walks through trees
//! go the ways of real data.
//!
//! Median µs on two shared cores, release build, tract with our operators against onnxruntime
//! 1.31 with one thread:
//!
//! | model | 1 row | 64 rows |
//! |---|---|---|
//! | logistic regression with scaler, 10 columns | 1.3 / 4.7 | 3.5 / 5.3 |
//! | forest of 100 trees, depth 6 | 3.2 / 4.1 | 131 / 154 |
//! | gradient boosting, 25 trees, depth 3 | 1.3 / 3.0 | 12.7 / 17.4 |
//! | LightGBM, 100 trees of 15 leaves | 4.1 / 4.7 | 211 / 183 |

#![expect(clippy::unwrap_used, reason = "a panic is how a benchmark reports")]

use std::fmt;
use std::path::{Path, PathBuf};

use divan::Bencher;
use mainstay_onnx::{Engine, Model, Options};
use mainstay_protocol::tensor::{Data, Tensor};

const MODELS: [&str; 4] =
    ["logistic-binary", "forest-hundred", "boosting-binary", "lightgbm-hundred"];
const BATCHES: [usize; 2] = [1, 64];

fn main() {
    divan::main();
}

struct Case {
    name: &'static str,
    rows: usize,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {}", self.name, self.rows)
    }
}

fn cases() -> impl Iterator<Item = Case> {
    MODELS.into_iter().flat_map(|name| BATCHES.into_iter().map(move |rows| Case { name, rows }))
}

fn path(name: &str, extension: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/models");
    folder.join(name).with_extension(extension)
}

/// The recorded input with this many rows.
#[expect(clippy::cast_possible_truncation, reason = "recorded from 32-bit floats")]
fn input(case: &Case) -> Tensor {
    let text = std::fs::read_to_string(path(case.name, "json")).unwrap();
    let recorded: serde_json::Value = serde_json::from_str(&text).unwrap();
    let calls = recorded["calls"].as_array().unwrap();
    let input = calls
        .iter()
        .map(|call| &call["inputs"][0])
        .find(|input| input["shape"][0].as_u64() == Some(case.rows as u64))
        .unwrap();
    let values = input["data"].as_array().unwrap().iter();
    let data: Vec<f32> = values.map(|value| value.as_f64().unwrap_or(f64::NAN) as f32).collect();
    let columns = data.len() / case.rows;
    Tensor {
        name: input["name"].as_str().unwrap().to_owned(),
        shape: vec![case.rows, columns],
        data: Data::Fp32(data),
    }
}

fn measure(bencher: Bencher<'_, '_>, case: &Case, options: &Options) {
    let model = Model::load(&path(case.name, "onnx"), options).unwrap();
    let inputs = [input(case)];
    bencher.bench_local(|| model.run(divan::black_box(&inputs)).unwrap());
}

#[divan::bench(args = cases())]
fn tract(bencher: Bencher<'_, '_>, case: &Case) {
    measure(bencher, case, &Options::default());
}

#[divan::bench(args = cases())]
fn onnxruntime(bencher: Bencher<'_, '_>, case: &Case) {
    let Some(library) = std::env::var_os("MAINSTAY_ONNXRUNTIME") else { return };
    let options = Options { engine: Engine::OnnxRuntime, library: Some(library.into()) };
    measure(bencher, case, &options);
}

//! Both engines against what Python's onnxruntime answered.
//!
//! `testdata/models` holds models with recorded calls (see `testdata/train.py`). Labels must be
//! equal, floats within 1e-5, relative where they are larger than one. onnxruntime's part runs
//! where its library is found: the variable MAINSTAY_ONNXRUNTIME, else the Python package.

#![expect(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use mainstay_onnx::{Engine, Model, Options};
use mainstay_protocol::tensor::{Data, Datatype, Tensor};
use serde_json::Value;

const TOLERANCE: f64 = 1e-5;
const LIBRARY: &str = "MAINSTAY_ONNXRUNTIME";

struct Call {
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
}

fn models() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/models");
    let mut models: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "onnx"))
        .collect();
    models.sort();
    models
}

fn calls(model: &Path) -> Vec<Call> {
    let text = std::fs::read_to_string(model.with_extension("json")).unwrap();
    let recorded: Value = serde_json::from_str(&text).unwrap();
    let tensors = |call: &Value, side| call[side].as_array().unwrap().iter().map(tensor).collect();
    recorded["calls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|call| Call { inputs: tensors(call, "inputs"), outputs: tensors(call, "outputs") })
        .collect()
}

#[expect(clippy::cast_possible_truncation, reason = "recorded from 32-bit floats")]
fn tensor(value: &Value) -> Tensor {
    let elements = value["data"].as_array().unwrap();
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let data = match value["datatype"].as_str().unwrap().parse().unwrap() {
        Datatype::Fp32 => Data::Fp32(elements.iter().map(|one| number(one) as f32).collect()),
        Datatype::Fp64 => Data::Fp64(elements.iter().map(number).collect()),
        Datatype::Int64 => Data::Int64(elements.iter().map(|one| one.as_i64().unwrap()).collect()),
        Datatype::Bool => Data::Bool(elements.iter().map(|one| one.as_bool().unwrap()).collect()),
        Datatype::Bytes => {
            Data::Bytes(elements.iter().map(|one| one.as_str().unwrap().into()).collect())
        }
        other => panic!("{other} is not recorded"),
    };
    let shape = value["shape"].as_array().unwrap().iter();
    Tensor {
        name: value["name"].as_str().unwrap().to_owned(),
        shape: shape.map(|size| usize::try_from(size.as_u64().unwrap()).unwrap()).collect(),
        data,
    }
}

/// What is wrong with `actual`, if anything.
fn difference(actual: &Tensor, expected: &Tensor) -> Option<String> {
    if (&actual.name, &actual.shape) != (&expected.name, &expected.shape) {
        return Some(format!(
            "{} {:?} where {} {:?} is expected",
            actual.name, actual.shape, expected.name, expected.shape
        ));
    }
    let unequal = match (&actual.data, &expected.data) {
        (Data::Fp32(actual), Data::Fp32(expected)) => {
            let pairs = actual.iter().zip(expected);
            pairs.map(|(a, b)| (f64::from(*a), f64::from(*b))).enumerate().find(far)
        }
        (actual, expected) => {
            let same = actual == expected;
            return (!same).then(|| format!("{actual:?} where {expected:?} is expected"));
        }
    };
    unequal.map(|(index, (a, b))| format!("{}[{index}] is {a}, expected {b}", actual.name))
}

fn far((_, (a, b)): &(usize, (f64, f64))) -> bool {
    let near = (a - b).abs() <= TOLERANCE * b.abs().max(1.0);
    // Equal infinities are not near each other by subtraction.
    !(near || a == b || (a.is_nan() && b.is_nan()))
}

fn failures(path: &Path, options: &Options) -> Vec<String> {
    let model = match Model::load(path, options) {
        Ok(model) => model,
        Err(error) => return vec![error.detail()],
    };
    let mut failures = Vec::new();
    for call in calls(path) {
        let rows = call.inputs[0].shape[0];
        match model.run(&call.inputs) {
            Err(error) => failures.push(format!("{rows} rows: {}", error.detail())),
            Ok(answers) => {
                assert_eq!(answers.len(), call.outputs.len());
                let pairs = answers.iter().zip(&call.outputs);
                let unequal = pairs.filter_map(|(actual, expected)| difference(actual, expected));
                failures.extend(unequal.map(|what| format!("{rows} rows: {what}")));
            }
        }
    }
    failures
}

fn conforms(options: &Options) {
    let models = models();
    assert!(models.len() >= 15);
    let mut report = String::new();
    for path in &models {
        let name = path.file_stem().unwrap().to_string_lossy();
        for failure in failures(path, options).iter().take(3) {
            report
                .push_str(&format!("\n{name}: {}", failure.chars().take(300).collect::<String>()));
        }
    }
    assert!(report.is_empty(), "{report}");
    println!("{} models conform", models.len());
}

fn library() -> Option<PathBuf> {
    if let Ok(path) = std::env::var(LIBRARY) {
        return Some(path.into());
    }
    let find = "import glob, os, onnxruntime as o; \
                print(glob.glob(os.path.dirname(o.__file__) + '/capi/libonnxruntime.so.*')[0])";
    let found = Command::new("python3").args(["-c", find]).output().ok()?;
    let path = String::from_utf8(found.stdout).ok()?;
    found.status.success().then(|| path.trim().into())
}

/// Says so past the harness, which would swallow what a passing test prints.
fn skipped() {
    let mut terminal = std::io::stderr();
    let why = format!("SKIPPED: no libonnxruntime; set {LIBRARY} or pip install onnxruntime\n");
    terminal.write_all(why.as_bytes()).unwrap();
}

#[test]
fn tract_answers_as_recorded() {
    conforms(&Options::default());
}

#[test]
fn onnxruntime_answers_as_recorded() {
    let Some(library) = library() else { return skipped() };
    conforms(&Options { engine: Engine::OnnxRuntime, library: Some(library) });
}

#[test]
fn both_engines_declare_the_same_tensors() {
    let Some(library) = library() else { return skipped() };
    let second = Options { engine: Engine::OnnxRuntime, library: Some(library) };
    for path in models() {
        let tract = Model::load(&path, &Options::default()).unwrap();
        let onnxruntime = Model::load(&path, &second).unwrap();
        assert_eq!(tract.inputs(), onnxruntime.inputs(), "{}", path.display());
        let declared = |model: &Model| -> Vec<_> {
            model.outputs().iter().map(|spec| (spec.name.clone(), spec.datatype)).collect()
        };
        assert_eq!(declared(&tract), declared(&onnxruntime), "{}", path.display());
    }
}

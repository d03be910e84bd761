//! What a caller of the crate sees: how models load, refuse, and run from other threads.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test reports")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mainstay_onnx::{Engine, Error, Executor, Fault, Model, Options};
use mainstay_protocol::tensor::{Data, Datatype, Tensor, TensorSpec};
use prost::Message as _;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, ValueInfoProto};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/models").join(name)
}

fn load(name: &str) -> Model {
    Model::load(&path(name), &Options::default()).unwrap()
}

fn failure(path: &Path, options: &Options) -> Error {
    Model::load(path, options).expect_err("a refusal")
}

fn rows(count: usize) -> Tensor {
    Tensor { name: "x".into(), shape: vec![count, 4], data: Data::Fp32(vec![1.0; count * 4]) }
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_model_says_what_it_takes_and_gives() {
    let model = load("logistic-zipmap-names.onnx");
    let spec = |name: &str, datatype, shape: &[Option<usize>]| TensorSpec {
        name: name.into(),
        datatype,
        shape: shape.into(),
    };
    assert_eq!(model.inputs(), [spec("x", Datatype::Fp32, &[None, Some(4)])]);
    assert_eq!(
        model.outputs(),
        [
            spec("output_label", Datatype::Bytes, &[None]),
            spec("output_probability", Datatype::Fp32, &[None, Some(3)]),
        ]
    );
}

#[test]
fn one_model_serves_every_batch_size() {
    let model = load("forest-names.onnx");
    for count in [1, 2, 65] {
        let answers = model.run(&[rows(count)]).unwrap();
        assert_eq!(answers[0].shape, [count]);
        assert_eq!(answers[1].shape, [count, 3]);
    }
}

#[test]
fn doubles_are_taken_where_the_model_takes_floats() {
    let model = load("forest-names.onnx");
    let doubles = Tensor { data: Data::Fp64(vec![1.0; 4]), ..rows(1) };
    assert_eq!(model.run(&[doubles]).unwrap(), model.run(&[rows(1)]).unwrap());
}

#[test]
fn a_bad_input_is_the_clients_fault() {
    let model = load("forest-names.onnx");
    let other = Tensor { name: "y".into(), ..rows(1) };
    let narrow = Tensor { shape: vec![1, 3], data: Data::Fp32(vec![1.0; 3]), ..rows(1) };
    for inputs in [vec![], vec![other], vec![narrow]] {
        assert_eq!(model.run(&inputs).expect_err("a refusal").fault(), Fault::Client);
    }
    let mixed = load("mixed-columns.onnx");
    let column = |name: &str, data| Tensor { name: name.into(), shape: vec![1, 1], data };
    let inputs = [
        column("amount", Data::Fp32(vec![1.0])),
        column("age", Data::Fp32(vec![1.0])),
        column("country", Data::Bytes(vec![vec![0xff]])),
        column("code", Data::Int32(vec![1])),
    ];
    let error = mixed.run(&inputs).expect_err("a refusal");
    assert_eq!(error.to_string(), r#"input "country" holds bytes that are not UTF-8 at element 0"#);
}

#[test]
fn a_load_failure_names_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let operator = NodeProto { op_type: "Clairvoyance".into(), ..NodeProto::default() };
    let graph = GraphProto { node: vec![operator], ..GraphProto::default() };
    let model = ModelProto { graph: Some(graph), ..ModelProto::default() };
    let path = write(folder.path(), "model.onnx", &model.encode_to_vec());
    let error = failure(&path, &Options::default());
    assert!(
        matches!(&error, Error::MissingOperators { operators, .. } if operators == &["Clairvoyance"])
    );
    assert!(error.to_string().contains("Clairvoyance"));
    assert_eq!(error.fault(), Fault::Model);
}

#[test]
fn an_output_that_nothing_makes_is_an_error_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let output = ValueInfoProto { name: "y".into(), ..ValueInfoProto::default() };
    let graph = GraphProto { output: vec![output], ..GraphProto::default() };
    let model = ModelProto { graph: Some(graph), ..ModelProto::default() };
    let path = write(folder.path(), "model.onnx", &model.encode_to_vec());
    let error = failure(&path, &Options::default());
    assert!(matches!(error, Error::Load { .. }), "{error}");
}

#[test]
fn what_is_no_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::default();
    let absent = failure(&folder.path().join("absent.onnx"), &options);
    assert!(matches!(absent, Error::Read { .. }));
    assert!(matches!(failure(folder.path(), &options), Error::Read { .. }));
    for bytes in [&b""[..], b"not a model", b"\x00\xff\xff"] {
        let path = write(folder.path(), "model.onnx", bytes);
        assert!(matches!(failure(&path, &options), Error::NotOnnx { .. }));
    }
}

#[test]
fn a_file_larger_than_any_fallback_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "model.onnx", b"");
    std::fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(mainstay_onnx::model::FILE_LIMIT + 1)
        .unwrap();
    assert!(matches!(failure(&path, &Options::default()), Error::TooLarge { .. }));
}

#[test]
fn every_truncated_model_is_an_error_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(path("boosting-names.onnx")).unwrap();
    for length in (0..whole.len()).step_by(61) {
        let path = write(folder.path(), "model.onnx", &whole[..length]);
        // Cut between two fields, it may still be a smaller model; it must only not panic.
        drop(Model::load(&path, &Options::default()));
    }
}

#[test]
fn the_second_engine_needs_a_library() {
    let options = |library: Option<&str>| Options {
        engine: Engine::OnnxRuntime,
        library: library.map(PathBuf::from),
    };
    let model = path("forest-names.onnx");
    assert!(matches!(failure(&model, &options(None)), Error::Library { .. }));
    let nowhere = options(Some("/nowhere/libonnxruntime.so"));
    assert!(matches!(failure(&model, &nowhere), Error::Library { .. }));
}

#[tokio::test]
async fn an_executor_runs_calls_from_many_tasks() {
    let model = Arc::new(load("forest-names.onnx"));
    let executor = Executor::new(2, 64);
    let expected = model.run(&[rows(3)]).unwrap();
    let calls = (0..32).map(|_| executor.run(Arc::clone(&model), vec![rows(3)]));
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap(), expected);
    }
    let bad = executor.run(model, vec![]).await.expect_err("a refusal");
    assert_eq!(bad.fault(), Fault::Client);
}

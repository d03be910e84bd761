//! ONNX files that no engine can run, made by hand.

use std::path::PathBuf;

/// The operator that nobody has.
pub(crate) const UNKNOWN_OPERATOR: &str = "TeaLeafReader";

/// A well-formed model of one node whose operator does not exist, written into `folder`.
pub(crate) fn with_unknown_operator(folder: &std::path::Path) -> PathBuf {
    let path = folder.join("tea-leaves.onnx");
    std::fs::write(&path, model()).expect("the model can be written");
    path
}

/// `ModelProto`: IR version 8, opset 17, one graph.
fn model() -> Vec<u8> {
    let opset = [text(1, ""), number(2, 17)].concat();
    [number(1, 8), nested(7, &graph()), nested(8, &opset)].concat()
}

fn graph() -> Vec<u8> {
    let node = [text(1, "x"), text(2, "y"), text(3, "node"), text(4, UNKNOWN_OPERATOR)].concat();
    [nested(1, &node), text(2, "graph"), nested(11, &tensor("x")), nested(12, &tensor("y"))]
        .concat()
}

/// `ValueInfoProto` of an FP32 tensor of shape `[1, 64]`.
fn tensor(name: &str) -> Vec<u8> {
    let shape = [nested(1, &number(1, 1)), nested(1, &number(1, 64))].concat();
    let tensor = [number(1, 1), nested(2, &shape)].concat();
    [text(1, name), nested(2, &nested(1, &tensor))].concat()
}

/// A field with a small number.
fn number(field: u8, value: u8) -> Vec<u8> {
    vec![field << 3, value]
}

fn text(field: u8, value: &str) -> Vec<u8> {
    nested(field, value.as_bytes())
}

/// A field of bytes; all of ours are shorter than 128.
fn nested(field: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).expect("short");
    assert!(length < 128, "a longer field needs a longer length");
    [&[field << 3 | 2, length], bytes].concat()
}

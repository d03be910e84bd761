//! The `ai.onnx.ml` operators that tract lacks, or has in a slow or narrower form.
//!
//! Semantics follow the operators' specification (ONNX, `docs/Operators-ml.md`) and, where that
//! is silent, what onnxruntime does, since exporters are tested against it; the conformance suite
//! holds both engines to the same recorded outputs.

mod kernel;
mod labels;
mod post_transform;
mod scaler;
mod tree_classifier;
mod tree_regressor;
mod trees;

use tract_onnx::Onnx;

/// tract's ONNX reader with our operators in it.
pub(crate) fn framework() -> Onnx {
    let mut onnx = tract_onnx::onnx();
    let register = &mut onnx.op_register;
    register.insert("Scaler", scaler::parse);
    register.insert("TreeEnsembleClassifier", tree_classifier::parse);
    register.insert("TreeEnsembleRegressor", tree_regressor::parse);
    onnx
}

//! The `ai.onnx.ml` operators that tract lacks, or has in a slow or narrower form.
//!
//! Semantics follow the operators' specification (ONNX, `docs/Operators-ml.md`) and, where that
//! is silent, what onnxruntime does, since exporters are tested against it; the conformance suite
//! holds both engines to the same recorded outputs.

mod array_feature_extractor;
mod binarizer;
mod feature_vectorizer;
mod imputer;
mod kernel;
mod label_encoder;
mod labels;
mod linear;
mod normalizer;
mod one_hot_encoder;
mod post_transform;
mod scaler;
mod svm;
mod svm_classifier;
mod svm_regressor;
mod tree_classifier;
mod tree_regressor;
mod trees;

use tract_onnx::Onnx;

/// tract's ONNX reader with our operators in it. ZipMap is dropped before it reads a graph.
pub(crate) fn framework() -> Onnx {
    let mut onnx = tract_onnx::onnx();
    let register = &mut onnx.op_register;
    register.insert("ArrayFeatureExtractor", array_feature_extractor::parse);
    register.insert("Binarizer", binarizer::parse);
    register.insert("CategoryMapper", label_encoder::parse_category_mapper);
    register.insert("FeatureVectorizer", feature_vectorizer::parse);
    register.insert("Imputer", imputer::parse);
    register.insert("LabelEncoder", label_encoder::parse);
    register.insert("LinearClassifier", linear::parse_classifier);
    register.insert("LinearRegressor", linear::parse_regressor);
    register.insert("Normalizer", normalizer::parse);
    register.insert("OneHotEncoder", one_hot_encoder::parse);
    register.insert("SVMClassifier", svm_classifier::parse);
    register.insert("SVMRegressor", svm_regressor::parse);
    register.insert("Scaler", scaler::parse);
    register.insert("TreeEnsembleClassifier", tree_classifier::parse);
    register.insert("TreeEnsembleRegressor", tree_regressor::parse);
    onnx
}

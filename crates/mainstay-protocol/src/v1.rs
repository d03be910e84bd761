//! `TensorFlow` Serving's REST API, and KServe's V1 protocol made after it.
//!
//! A request has its tensors by rows (`instances`) or by columns (`inputs`), an answer in the same
//! way (`predictions`, `outputs`). Names and datatypes stand in neither, so whoever reads one as
//! tensors must know the model's own. `TensorFlow` Serving writes NaN and the infinities as bare
//! words, which no reader of JSON takes, and bytes as `{"b64": "…"}`.
//!
//! Sources: TensorFlow Serving's `docs/api_rest.md` and `util/json_tensor.cc`; KServe's
//! `docs/predict-api/v1`.

pub mod answer;
mod json;
pub mod metadata;
pub mod path;
pub mod request;
pub mod status;
mod values;

#[cfg(test)]
mod tests;

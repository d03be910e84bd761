//! The data: three models and the rows that none of them was trained on (`demo/README.md`).

use anyhow::Context;
use bytes::Bytes;
use serde_json::{Value, json};

/// The best model, of the first pool.
pub(super) const FOREST: &[u8] = include_bytes!("../../../demo/digits-forest.onnx");
/// The older model, of the second pool.
pub(super) const BOOSTING: &[u8] = include_bytes!("../../../demo/digits-boosting.onnx");
/// The small model inside the gateway.
pub(super) const LOGISTIC: &[u8] = include_bytes!("../../../demo/digits-logistic.onnx");

const ROWS: &str = include_str!("../../../demo/digits.csv");

/// The model's name, as clients and servers say it.
pub(super) const MODEL: &str = "digits";

/// An image ready to be asked about, and what it shows.
#[derive(Clone, Debug)]
pub(super) struct Digit {
    pub(super) label: i64,
    /// The body of an inference request.
    pub(super) body: Bytes,
}

/// Every held-out row, in the order of the file.
pub(super) fn all() -> anyhow::Result<Vec<Digit>> {
    ROWS.lines().skip(1).map(|line| parse(line).context("digits.csv")).collect()
}

fn parse(line: &str) -> anyhow::Result<Digit> {
    let numbers: Vec<i64> = line.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let (label, pixels) = numbers.split_first().context("an empty line")?;
    let input = json!({"name": "x", "shape": [1, 64], "datatype": "FP32", "data": pixels});
    let body = json!({"inputs": [input]}).to_string();
    Ok(Digit { label: *label, body: body.into() })
}

/// The digit that an answer names.
pub(super) fn label(answer: &[u8]) -> Option<i64> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let outputs = answer["outputs"].as_array()?;
    let label = outputs.iter().find(|output| output["name"] == "label")?;
    label["data"].as_array()?.first()?.as_i64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_a_request_about_a_digit() {
        let digits = all().unwrap();
        assert_eq!(digits.len(), 600);
        for digit in digits {
            assert!((0..10).contains(&digit.label));
            let body: Value = serde_json::from_slice(&digit.body).unwrap();
            assert_eq!(body["inputs"][0]["data"].as_array().unwrap().len(), 64);
        }
    }

    #[test]
    fn a_label_is_found_wherever_it_stands() {
        let answer = br#"{"outputs":[{"name":"p","data":[0.5]},{"name":"label","data":[7]}]}"#;
        assert_eq!(label(answer), Some(7));
        assert_eq!(label(b"{"), None);
        assert_eq!(label(br#"{"error":"no"}"#), None);
    }
}

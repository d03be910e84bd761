//! The demo's held-out digits as requests.

use serde_json::json;

use super::demo;
use super::http::Request;

/// The model's name in the tests.
pub(crate) const MODEL: &str = "digits";

/// One image with its true label.
#[derive(Clone, Debug)]
pub(crate) struct Digit {
    pub(crate) label: i64,
    pub(crate) pixels: Vec<f32>,
}

/// All held-out digits.
pub(crate) fn all() -> Vec<Digit> {
    let text = std::fs::read_to_string(demo("digits.csv")).expect("the demo's rows are there");
    text.lines().skip(1).map(parse).collect()
}

fn parse(line: &str) -> Digit {
    let mut numbers = line.split(',').map(|number| number.parse::<f32>().expect("a number"));
    #[expect(clippy::cast_possible_truncation, reason = "labels are 0 to 9")]
    let label = numbers.next().expect("a label") as i64;
    Digit { label, pixels: numbers.collect() }
}

/// An inference request for these rows.
pub(crate) fn infer(rows: &[Digit]) -> Request {
    let data: Vec<f32> = rows.iter().flat_map(|row| row.pixels.clone()).collect();
    let body = json!({
        "inputs": [{"name": "x", "shape": [rows.len(), 64], "datatype": "FP32", "data": data}]
    });
    Request::post("/v2/models/digits/infer", body.to_string())
}

/// The labels of an answer, in the order of its rows.
pub(crate) fn labels(answer: &serde_json::Value) -> Vec<i64> {
    let outputs = answer["outputs"].as_array().expect("outputs");
    let label = outputs.iter().find(|output| output["name"] == "label").expect("a label");
    let data = label["data"].as_array().expect("data");
    data.iter().map(|value| value.as_i64().expect("an integer")).collect()
}

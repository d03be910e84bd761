//! What the model of this server answers: for each row `y`, the sum of its inputs, and
//! `probabilities`, of which the second is sure. So a client can tell a right answer from a wrong
//! one without knowing a model.

use serde_json::{Value, json};

use crate::wire::Request;

/// What is wrong with the numbers of an answer that is well formed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Flaw {
    None,
    LowConfidence,
    Nan,
    Wrong,
    Shape,
}

/// Beside the sum: what a wrong answer is wrong by.
const WRONG_BY: f64 = 1000.0;

/// The answer to an inference.
pub(crate) fn inference(request: &Request, flaw: Flaw) -> String {
    if !request.path.starts_with("/v2") {
        return predictions(request, flaw);
    }
    let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let sums = sums(&asked);
    let rows = sums.len();
    let y: Vec<f64> = match flaw {
        Flaw::Wrong => sums.iter().map(|sum| sum + WRONG_BY).collect(),
        _ => sums,
    };
    let row = if flaw == Flaw::LowConfidence { [0.5, 0.5] } else { [0.1, 0.9] };
    let probabilities: Vec<f64> = std::iter::repeat_n(row, rows).flatten().collect();
    let shape = if flaw == Flaw::Shape { vec![rows, 1, 1] } else { vec![rows] };
    let mut body = json!({
        "model_name": request.model(),
        "model_version": "1",
        "outputs": [
            {"name": "y", "datatype": "FP32", "shape": shape, "data": y},
            {"name": "probabilities", "datatype": "FP32", "shape": [rows, 2], "data": probabilities}
        ]
    });
    if let Some(id) = asked.get("id") {
        body["id"] = id.clone();
    }
    if flaw != Flaw::Nan {
        return body.to_string();
    }
    // JSON has no NaN; servers that write floats with printf send the bare word.
    body["outputs"][0]["data"] = json!(["NaN"]);
    let numbers = vec!["NaN"; rows].join(",");
    body.to_string().replace("[\"NaN\"]", &format!("[{numbers}]"))
}

/// The same in the form of TensorFlow Serving, which MLflow's servers have as well: for each of
/// `instances` (or `inputs`) the two outputs by name.
fn predictions(request: &Request, flaw: Flaw) -> String {
    let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let columns = asked.get("instances").is_none();
    let rows = asked.get("instances").or_else(|| asked.get("inputs")).unwrap_or(&Value::Null);
    let rows = rows.as_array().map_or(&[][..], Vec::as_slice);
    let sums: Vec<f64> = rows
        .iter()
        .map(|row| {
            let mut numbers = Vec::new();
            flatten(row.get("x").unwrap_or(row), &mut numbers);
            numbers.iter().sum::<f64>() + if flaw == Flaw::Wrong { WRONG_BY } else { 0.0 }
        })
        .collect();
    let sure = if flaw == Flaw::LowConfidence { [0.5, 0.5] } else { [0.1, 0.9] };
    let shown = |sum: &f64| if flaw == Flaw::Shape { json!([[sum]]) } else { json!(sum) };
    let body = if columns {
        let ys: Vec<Value> = sums.iter().map(shown).collect();
        json!({"outputs": {"y": ys, "probabilities": vec![sure; sums.len()]}})
    } else {
        let row = |sum: &f64| json!({"y": shown(sum), "probabilities": sure});
        json!({"predictions": sums.iter().map(row).collect::<Vec<_>>()})
    };
    if flaw != Flaw::Nan {
        return body.to_string();
    }
    // As TensorFlow Serving writes it.
    let mut words = body;
    for row in words["predictions"].as_array_mut().into_iter().flatten() {
        row["y"] = json!("NaN");
    }
    words.to_string().replace("\"NaN\"", "NaN")
}

/// The sum of each row of the first input.
fn sums(asked: &Value) -> Vec<f64> {
    let input = &asked["inputs"][0];
    let mut numbers = Vec::new();
    flatten(&input["data"], &mut numbers);
    let rows = input["shape"][0].as_u64().and_then(|rows| usize::try_from(rows).ok());
    let rows = rows.unwrap_or(1).clamp(1, numbers.len().max(1));
    let width = (numbers.len() / rows).max(1);
    let mut sums: Vec<f64> = numbers.chunks(width).map(|row| row.iter().sum()).collect();
    sums.resize(rows, 0.0);
    sums
}

fn flatten(data: &Value, into: &mut Vec<f64>) {
    match data {
        Value::Array(items) => items.iter().for_each(|item| flatten(item, into)),
        other => into.extend(other.as_f64()),
    }
}

/// The answer to anything but inferences: health, metadata.
pub(crate) fn other(request: &Request) -> (u16, String) {
    let path = request.path.split('?').next().unwrap_or_default();
    let model = request.model().unwrap_or_default();
    let body = match path {
        "/v1/models" => return (200, crate::language::models()),
        "/health" => json!({}),
        "/v2/health/live" => json!({"live": true}),
        "/v2/health/ready" => json!({"ready": true}),
        "/v2" => json!({"name": "mainstay-faults", "version": "1", "extensions": []}),
        "/ping" => json!({"status": "Healthy"}),
        _ if request.v1_call().is_some_and(|(_, verb)| verb.is_empty()) => json!({
            "model_version_status": [{
                "version": "1", "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""}
            }]
        }),
        _ if !path.starts_with("/v") => json!({"method": request.method, "path": request.path}),
        _ if path.ends_with("/ready") => json!({"name": model, "ready": true}),
        _ if !model.is_empty() => json!({
            "name": model, "versions": ["1"], "platform": "faults",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, -1]}],
            "outputs": [
                {"name": "y", "datatype": "FP32", "shape": [-1]},
                {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}
            ]
        }),
        _ => return (404, error("not found")),
    };
    (200, body.to_string())
}

/// An error as the protocol writes it.
pub(crate) fn error(message: &str) -> String {
    json!({ "error": message }).to_string()
}

/// The text beside a status, in the words of servers that use it.
pub(crate) fn complaint(status: u16, model: &str) -> String {
    error(&match status {
        429 => "too many requests".to_owned(),
        500 => "unexpected error in model execution".to_owned(),
        503 => "service is unavailable".to_owned(),
        507 => "Worker died: out of memory".to_owned(),
        529 => "overloaded".to_owned(),
        _ => format!("{model}: status {status} by script"),
    })
}

/// Triton's words for a model that is not there (`model_repository_manager.cc`).
pub(crate) fn not_ready(model: &str) -> String {
    error(&format!("Request for unknown model: '{model}' version -1 is not at ready state"))
}

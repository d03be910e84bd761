//! Answers: `predictions` by rows, `outputs` by columns.

use serde_json::Value;

use super::json;
use super::request::{by_columns, by_rows, write_columns, write_rows};
use crate::form::Context;
use crate::oip::Encoded;
use crate::oip::answer::Response;
use crate::oip::infer::{Layout, Request};
use crate::{Error, Protocol, Tensor};

/// Reads an answer whose tensors are the declared outputs. Members beside them become parameters.
///
/// # Errors
/// It is not of the protocol's form, does not fit the outputs, or they are not declared.
pub fn parse(body: &[u8], context: Context<'_>) -> Result<Response, Error> {
    let specs = context.outputs;
    if specs.is_empty() {
        return Err(Error::Undeclared("outputs"));
    }
    let text = str::from_utf8(body).map_err(|error| Error::Malformed(error.to_string()))?;
    let mut response = Response { model_name: context.model.to_owned(), ..Response::default() };
    let mut found = None;
    for (name, value) in json::members(text)? {
        let outputs = match &*name {
            "predictions" => by_rows(&json::elements(value)?, specs)?,
            "outputs" => by_columns(value, specs)?,
            _ => {
                let value: Value = serde_json::from_str(value)?;
                response.parameters.insert(name.into_owned(), value);
                continue;
            }
        };
        if found.replace(outputs).is_some() {
            return Err(Error::Malformed("both predictions and outputs".to_owned()));
        }
    }
    let missing = || Error::Malformed("neither predictions nor outputs".to_owned());
    response.outputs = found.ok_or_else(missing)?;
    Ok(response)
}

/// Writes an answer in the way in which `request` was laid out.
///
/// # Errors
/// The protocol has no words for one of its tensors, or one that is wanted is not there.
pub fn render(response: &Response, request: &Request) -> Result<Encoded, Error> {
    let wanted: Vec<Tensor>;
    let outputs = match request.outputs.as_slice() {
        [] => &response.outputs,
        names => {
            let find = |it: &crate::oip::infer::RequestedOutput| response.output(&it.name).cloned();
            wanted = names.iter().map(find).collect::<Result<_, _>>()?;
            &wanted
        }
    };
    if outputs.is_empty() {
        let what = "an answer without outputs".to_owned();
        return Err(Error::NoWords { protocol: Protocol::V1, what });
    }
    let plain = outputs.len() == 1;
    let mut out = String::from("{");
    if request.layout == Layout::Columns {
        out.push_str("\"outputs\":");
        write_columns(outputs, plain, &mut out)?;
    } else {
        out.push_str("\"predictions\":");
        write_rows(outputs, plain, &mut out)?;
    }
    out.push('}');
    Ok(Encoded { body: out.into(), json_len: None })
}

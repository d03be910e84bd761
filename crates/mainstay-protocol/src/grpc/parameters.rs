//! Free parameters: JSON's values and the protocol's own kinds.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};

use super::proto::inference::InferParameter;
use super::proto::inference::infer_parameter::ParameterChoice;
use crate::Error;

/// Parameters as they are sent.
pub(super) type Parameters = BTreeMap<String, InferParameter>;

/// Parameters as everything else here knows them.
///
/// # Errors
/// A number that JSON has no word for.
pub(super) fn read(sent: &Parameters) -> Result<Map<String, Value>, Error> {
    let one = |(name, parameter): (&String, &InferParameter)| {
        let unfit = || Error::Parameter { name: name.clone() };
        let value = match parameter.parameter_choice.as_ref() {
            None => Value::Null,
            Some(ParameterChoice::BoolParam(value)) => Value::Bool(*value),
            Some(ParameterChoice::Int64Param(value)) => Value::from(*value),
            Some(ParameterChoice::StringParam(value)) => Value::String(value.clone()),
            Some(ParameterChoice::DoubleParam(value)) => {
                Value::Number(Number::from_f64(*value).ok_or_else(unfit)?)
            }
            Some(ParameterChoice::Uint64Param(value)) => Value::from(*value),
        };
        Ok((name.clone(), value))
    };
    sent.iter().map(one).collect()
}

/// Parameters to be sent.
///
/// # Errors
/// A list or an object, for which the protocol has no kind.
pub(super) fn write(parameters: &Map<String, Value>) -> Result<Parameters, Error> {
    let one = |(name, value): (&String, &Value)| {
        let choice = match value {
            Value::Null => None,
            Value::Bool(value) => Some(ParameterChoice::BoolParam(*value)),
            Value::String(value) => Some(ParameterChoice::StringParam(value.clone())),
            Value::Number(number) => Some(number_choice(number)),
            Value::Array(_) | Value::Object(_) => {
                return Err(Error::Parameter { name: name.clone() });
            }
        };
        Ok((name.clone(), InferParameter { parameter_choice: choice }))
    };
    parameters.iter().map(one).collect()
}

fn number_choice(number: &Number) -> ParameterChoice {
    if let Some(value) = number.as_i64() {
        return ParameterChoice::Int64Param(value);
    }
    if let Some(value) = number.as_u64() {
        return ParameterChoice::Uint64Param(value);
    }
    ParameterChoice::DoubleParam(number.as_f64().unwrap_or_default())
}

//! Predictions as they are asked for: `instances` by rows, `inputs` by columns.
//!
//! What is read as tensors must be all there is: a member that tensors have no place for makes a
//! request one that cannot be translated, rather than one that loses something on its way.

use std::borrow::Cow;

use serde_json::Value;

use super::json;
use super::values::{self, Texts};
use crate::form::Context;
use crate::oip::Encoded;
use crate::oip::infer::{Layout, Request};
use crate::{Error, Protocol, Tensor, TensorSpec};

/// The function of a model that is asked, and as which parameter it goes through other protocols.
pub(super) const SIGNATURE: &str = "signature_name";
/// The function that is asked where none is named.
const USUAL: &str = "serving_default";
/// Parameters that only say how soon the answer is wanted.
const HINTS: [&str; 2] = ["priority", "timeout"];

/// A request divided into its members.
struct Divided<'a> {
    members: Vec<(Cow<'a, str>, &'a str)>,
    layout: Layout,
    /// The text of its tensors.
    data: &'a str,
}

fn divide(body: &[u8]) -> Result<Divided<'_>, Error> {
    let text = str::from_utf8(body).map_err(|error| Error::Malformed(error.to_string()))?;
    let members = json::members(text)?;
    let find = |wanted: &str| members.iter().find(|(name, _)| name == wanted);
    let (layout, data) = match (find("instances"), find("inputs")) {
        (Some((_, data)), None) => (Layout::Rows, *data),
        (None, Some((_, data))) => (Layout::Columns, *data),
        _ => {
            let message = "exactly one of instances and inputs is needed";
            return Err(Error::Malformed(message.to_owned()));
        }
    };
    Ok(Divided { members, layout, data })
}

/// The request without its tensors: how it is laid out, and which function it asks.
///
/// # Errors
/// It is not of the protocol's form.
pub fn outline(body: &[u8]) -> Result<Request, Error> {
    let Divided { members, layout, .. } = divide(body)?;
    let mut request = Request { layout, ..Request::default() };
    for (name, value) in &members {
        if name == SIGNATURE {
            let signature = Value::String(json::string(value)?.into_owned());
            request.parameters.insert(SIGNATURE.to_owned(), signature);
        }
    }
    Ok(request)
}

/// Reads a request whose tensors are `inputs`.
///
/// # Errors
/// It is not of the protocol's form, does not fit the inputs or has more than them, or they are
/// not declared.
pub fn parse(body: &[u8], inputs: &[TensorSpec]) -> Result<Request, Error> {
    let mut request = outline(body)?;
    if inputs.is_empty() {
        return Err(Error::Undeclared("inputs"));
    }
    let Divided { members, layout, data } = divide(body)?;
    let known = [SIGNATURE, "instances", "inputs"];
    if let Some((name, _)) = members.iter().find(|(name, _)| !known.contains(&&**name)) {
        let what = format!("the member {name:?} of a V1 request");
        return Err(Error::NoWords { protocol: Protocol::Oip, what });
    }
    request.inputs = match layout {
        Layout::Rows => by_rows(&json::elements(data)?, inputs)?,
        Layout::Columns | Layout::Tensors => by_columns(data, inputs)?,
    };
    if request.inputs.is_empty() {
        return Err(Error::NoInputs);
    }
    Ok(request)
}

/// The tensors of rows, each of which is a value or an object of named values.
pub(super) fn by_rows(rows: &[&str], specs: &[TensorSpec]) -> Result<Vec<Tensor>, Error> {
    let is_named = |row: &&&str| row.starts_with('{') && values::b64(row).is_none();
    match rows.iter().filter(is_named).count() {
        _ if rows.is_empty() => Ok(Vec::new()),
        0 => Ok(vec![values::read(only(specs)?, &Texts::Rows(rows))?]),
        named if named == rows.len() => {
            let rows: Vec<_> =
                rows.iter().map(|row| json::members(row)).collect::<Result<_, _>>()?;
            named_rows(&rows, specs)
        }
        _ => Err(Error::Malformed("some rows are objects of named values, others not".to_owned())),
    }
}

fn named_rows(
    rows: &[Vec<(Cow<'_, str>, &str)>],
    specs: &[TensorSpec],
) -> Result<Vec<Tensor>, Error> {
    let mut tensors = Vec::with_capacity(specs.len());
    for spec in specs {
        let texts: Vec<&str> = rows.iter().filter_map(|row| find(row, &spec.name)).collect();
        match texts.len() {
            0 => {}
            found if found == rows.len() => {
                tensors.push(values::read(spec, &Texts::Rows(&texts))?);
            }
            found => {
                let (tensor, expected) = (spec.name.clone(), rows.len());
                return Err(Error::Rows { tensor, expected, found });
            }
        }
    }
    rows.iter().try_for_each(|row| nothing_else(row, specs)).map(|()| tensors)
}

/// The tensors of an object of named values, or the only one.
pub(super) fn by_columns(data: &str, specs: &[TensorSpec]) -> Result<Vec<Tensor>, Error> {
    if !data.starts_with('{') || values::b64(data).is_some() {
        return Ok(vec![values::read(only(specs)?, &Texts::One(data))?]);
    }
    let members = json::members(data)?;
    nothing_else(&members, specs)?;
    let named = specs.iter().filter_map(|spec| Some((spec, find(&members, &spec.name)?)));
    named.map(|(spec, text)| values::read(spec, &Texts::One(text))).collect()
}

fn find<'a>(members: &[(Cow<'_, str>, &'a str)], wanted: &str) -> Option<&'a str> {
    members.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value)
}

/// Values without a name are those of the only tensor.
fn only(specs: &[TensorSpec]) -> Result<&TensorSpec, Error> {
    match specs {
        [spec] => Ok(spec),
        _ => Err(Error::Malformed("the model has several tensors: each needs its name".to_owned())),
    }
}

/// Every name is declared, and there once.
fn nothing_else(members: &[(Cow<'_, str>, &str)], specs: &[TensorSpec]) -> Result<(), Error> {
    for (at, (name, _)) in members.iter().enumerate() {
        if !specs.iter().any(|spec| spec.name == *name) {
            return Err(Error::Malformed(format!("the model declares no tensor {name:?}")));
        }
        if members[..at].iter().any(|(other, _)| other == name) {
            return Err(Error::Duplicate { tensor: name.to_string() });
        }
    }
    Ok(())
}

/// The rows that a request asks for, without a look at its values.
///
/// # Errors
/// It is not of the protocol's form.
pub fn rows(body: &[u8]) -> Result<usize, Error> {
    let Divided { layout, data, .. } = divide(body)?;
    let first = match layout {
        Layout::Rows => data,
        _ if data.starts_with('{') && values::b64(data).is_none() => {
            let members = json::members(data)?;
            let (_, first) = *members.first().ok_or(Error::NoInputs)?;
            return Ok(count(first));
        }
        _ => return Ok(count(data)),
    };
    json::elements(first).map(|rows| rows.len())
}

/// The elements of a list; a value alone is one row.
fn count(text: &str) -> usize {
    json::elements(text).map_or(1, |elements| elements.len())
}

/// The request with only these rows, all else as it came.
///
/// # Errors
/// It has no rows, or not all of these.
pub fn select_rows(body: &[u8], rows: &[usize]) -> Result<Encoded, Error> {
    let Divided { members, layout, data } = divide(body)?;
    if layout != Layout::Rows {
        let what = "rows of a request by columns".to_owned();
        return Err(Error::NoWords { protocol: Protocol::V1, what });
    }
    let all = json::elements(data)?;
    let pick =
        |row: &usize| all.get(*row).copied().ok_or(Error::NoRow { row: *row, rows: all.len() });
    let picked = rows.iter().map(pick).collect::<Result<Vec<_>, _>>()?;
    let texts = members.iter().map(|(name, value)| match &**name {
        "instances" => format!("\"instances\":[{}]", picked.join(",")),
        name => format!("{}:{value}", values::quoted(name)),
    });
    let body = format!("{{{}}}", texts.collect::<Vec<_>>().join(","));
    Ok(Encoded { body: body.into(), json_len: None })
}

/// Writes a request for a server: as it was laid out, or by rows where every declared tensor has
/// some.
///
/// # Errors
/// Something in it has no words in this protocol, or its tensors are not as declared.
pub fn render(request: &Request, context: Context<'_>) -> Result<Encoded, Error> {
    if context.inputs.is_empty() {
        return Err(Error::Undeclared("inputs"));
    }
    nothing_more(request)?;
    request.inputs.iter().try_for_each(|tensor| is_declared(tensor, context.inputs))?;
    let mut out = String::from("{");
    if let Some(Value::String(signature)) = request.parameters.get(SIGNATURE) {
        out.push_str(&format!("\"{SIGNATURE}\":{},", values::quoted(signature)));
    }
    let plain = context.inputs.len() == 1;
    if by_row(request, context) {
        out.push_str("\"instances\":");
        write_rows(&request.inputs, plain, &mut out)?;
    } else {
        out.push_str("\"inputs\":");
        write_columns(&request.inputs, plain, &mut out)?;
    }
    out.push('}');
    Ok(Encoded { body: out.into(), json_len: None })
}

/// Whether the rows can be told apart, and are the same for all.
fn by_row(request: &Request, context: Context<'_>) -> bool {
    let free = |spec: &TensorSpec| matches!(spec.shape.first(), Some(None));
    let rows = request.rows();
    let even = request.inputs.iter().all(|it| !it.shape.is_empty() && it.rows() == rows);
    match request.layout {
        Layout::Rows => even,
        Layout::Columns => false,
        Layout::Tensors => {
            even && rows > 0 && context.inputs.iter().chain(context.outputs).all(free)
        }
    }
}

/// Nothing but tensors, the function asked and hints.
fn nothing_more(request: &Request) -> Result<(), Error> {
    let no_words = |what: String| Err(Error::NoWords { protocol: Protocol::V1, what });
    for (name, value) in &request.parameters {
        let said = (name == SIGNATURE && value.is_string()) || HINTS.contains(&&**name);
        if !said {
            return no_words(format!("the parameter {name:?}"));
        }
    }
    if let Some(tensor) = request.tensor_parameters.keys().next() {
        return no_words(format!("the parameters of tensor {tensor:?}"));
    }
    match request.outputs.iter().find(|output| !output.parameters.is_empty()) {
        Some(output) => no_words(format!("the parameters of output {:?}", output.name)),
        None => Ok(()),
    }
}

/// The server types what it reads by its own model: another datatype would silently become it.
fn is_declared(tensor: &Tensor, specs: &[TensorSpec]) -> Result<(), Error> {
    let no_words = |what: String| Err(Error::NoWords { protocol: Protocol::V1, what });
    let name = &tensor.name;
    let Some(spec) = specs.iter().find(|spec| spec.name == *name) else {
        return no_words(format!("tensor {name:?}, which the model does not declare"));
    };
    if spec.datatype != tensor.datatype() {
        let found = tensor.datatype();
        return no_words(format!("tensor {name:?} as {found}: it is declared {}", spec.datatype));
    }
    let fits = spec.shape.len() == tensor.shape.len()
        && spec.shape.iter().zip(&tensor.shape).all(|(a, b)| a.is_none_or(|a| a == *b));
    if !fits || tensor.shape.contains(&0) {
        return no_words(format!("tensor {name:?} of shape {:?}", tensor.shape));
    }
    values::check(tensor)
}

/// Rows of one tensor, or of objects of all.
pub(super) fn write_rows(tensors: &[Tensor], plain: bool, out: &mut String) -> Result<(), Error> {
    let rows = tensors.first().map_or(0, Tensor::rows);
    tensors.iter().try_for_each(values::check)?;
    if let Some(odd) = tensors.iter().find(|it| it.shape.is_empty() || it.rows() != rows) {
        let what = format!("tensor {:?} row by row", odd.name);
        return Err(Error::NoWords { protocol: Protocol::V1, what });
    }
    out.push('[');
    for row in 0..rows {
        if row > 0 {
            out.push(',');
        }
        match tensors {
            [only] if plain => values::write_row(only, row, out)?,
            _ => write_named(tensors, out, |tensor, out| values::write_row(tensor, row, out))?,
        }
    }
    out.push(']');
    Ok(())
}

/// One tensor, or an object of all.
pub(super) fn write_columns(
    tensors: &[Tensor],
    plain: bool,
    out: &mut String,
) -> Result<(), Error> {
    match tensors {
        [only] if plain => values::write(only, out),
        _ => write_named(tensors, out, values::write),
    }
}

fn write_named(
    tensors: &[Tensor],
    out: &mut String,
    mut write: impl FnMut(&Tensor, &mut String) -> Result<(), Error>,
) -> Result<(), Error> {
    out.push('{');
    for (at, tensor) in tensors.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        out.push_str(&values::quoted(&tensor.name));
        out.push(':');
        write(tensor, out)?;
    }
    out.push('}');
    Ok(())
}

/// What of a V1 request another protocol has no place for is left out, where it says nothing: the
/// usual function is the one that is asked there. A request of another protocol stays as it is.
///
/// # Errors
/// It asks another function.
pub fn leave(request: &Request) -> Result<Cow<'_, Request>, Error> {
    let Some(signature) = request.parameters.get(SIGNATURE) else {
        return Ok(Cow::Borrowed(request));
    };
    if request.layout == Layout::Tensors {
        return Ok(Cow::Borrowed(request));
    }
    if signature != USUAL {
        let what = format!("the signature {signature}");
        return Err(Error::NoWords { protocol: Protocol::Oip, what });
    }
    let mut request = request.clone();
    request.parameters.remove(SIGNATURE);
    Ok(Cow::Owned(request))
}

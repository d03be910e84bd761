//! Tensors inside a message: what requests and answers have in common.

use bytes::Bytes;

use super::parameters::{self, Parameters};
use super::proto::inference::InferTensorContents;
use crate::error::cut;
use crate::oip::infer::TensorParameters;
use crate::oip::{checked_shape, from_raw, refuse_duplicates};
use crate::{Data, Datatype, Error, Tensor};

/// A tensor as it stands in a message.
pub(super) struct Head<'a> {
    pub(super) name: &'a str,
    pub(super) datatype: &'a str,
    pub(super) shape: &'a [i64],
    pub(super) contents: Option<&'a InferTensorContents>,
    pub(super) parameters: &'a Parameters,
}

/// The tensors of a message, with contents of their own or with `raw` bytes, one for each.
pub(super) fn tensors<'a>(
    heads: impl Iterator<Item = Head<'a>>,
    raw: &[Bytes],
) -> Result<(Vec<Tensor>, TensorParameters), Error> {
    let mut tensors = Vec::new();
    let mut all = TensorParameters::new();
    for head in heads {
        let bytes = raw.get(tensors.len());
        if bytes.is_none() && !raw.is_empty() {
            return Err(Error::NoData { tensor: head.name.to_owned() });
        }
        tensors.push(tensor(&head, bytes)?);
        if !head.parameters.is_empty() {
            all.insert(head.name.to_owned(), parameters::read(head.parameters)?);
        }
    }
    if raw.len() > tensors.len() {
        return Err(Error::Trailing(raw[tensors.len()..].iter().map(Bytes::len).sum()));
    }
    refuse_duplicates(&tensors)?;
    Ok((tensors, all))
}

fn tensor(head: &Head<'_>, raw: Option<&Bytes>) -> Result<Tensor, Error> {
    let name = head.name;
    let datatype: Datatype = head
        .datatype
        .parse()
        .map_err(|_| Error::Datatype { tensor: name.to_owned(), datatype: cut(head.datatype) })?;
    let shape = checked_shape(name, head.shape)?;
    let len = shape.iter().product();
    let data = match raw {
        Some(bytes) => from_raw(name, datatype, len, bytes)?,
        None => {
            let none = InferTensorContents::default();
            typed(name, datatype, head.contents.unwrap_or(&none))?
        }
    };
    if data.len() != len {
        let tensor = name.to_owned();
        return Err(Error::Length { tensor, expected: len, found: data.len() });
    }
    Ok(Tensor { name: name.to_owned(), shape, data })
}

/// The elements from contents of the datatype's own kind.
fn typed(tensor: &str, datatype: Datatype, from: &InferTensorContents) -> Result<Data, Error> {
    let narrow = Narrow { tensor, datatype };
    Ok(match datatype {
        Datatype::Bool => Data::Bool(from.bool_contents.clone()),
        Datatype::Int8 => Data::Int8(narrow.all(&from.int_contents)?),
        Datatype::Int16 => Data::Int16(narrow.all(&from.int_contents)?),
        Datatype::Int32 => Data::Int32(from.int_contents.clone()),
        Datatype::Int64 => Data::Int64(from.int64_contents.clone()),
        Datatype::Uint8 => Data::Uint8(narrow.all(&from.uint_contents)?),
        Datatype::Uint16 => Data::Uint16(narrow.all(&from.uint_contents)?),
        Datatype::Uint32 => Data::Uint32(from.uint_contents.clone()),
        Datatype::Uint64 => Data::Uint64(from.uint64_contents.clone()),
        Datatype::Fp32 => Data::Fp32(from.fp32_contents.clone()),
        Datatype::Fp64 => Data::Fp64(from.fp64_contents.clone()),
        Datatype::Bytes => Data::Bytes(from.bytes_contents.iter().map(|it| it.to_vec()).collect()),
        Datatype::Fp16 | Datatype::Bf16 => {
            return Err(Error::BinaryOnly { tensor: tensor.to_owned(), datatype });
        }
    })
}

/// Numbers that are sent in more room than their datatype has.
struct Narrow<'a> {
    tensor: &'a str,
    datatype: Datatype,
}

impl Narrow<'_> {
    fn all<W: Copy + ToString, N: TryFrom<W>>(&self, wide: &[W]) -> Result<Vec<N>, Error> {
        let one = |(index, value): (usize, &W)| {
            N::try_from(*value).map_err(|_| Error::Value {
                tensor: self.tensor.to_owned(),
                index,
                value: value.to_string(),
                datatype: self.datatype,
            })
        };
        wide.iter().enumerate().map(one).collect()
    }
}

/// The elements as contents of their own kind. FP16 and BF16 have none.
pub(super) fn contents(data: &Data) -> InferTensorContents {
    let mut to = InferTensorContents::default();
    match data {
        Data::Bool(values) => to.bool_contents.clone_from(values),
        Data::Int8(values) => to.int_contents = widened(values),
        Data::Int16(values) => to.int_contents = widened(values),
        Data::Int32(values) => to.int_contents.clone_from(values),
        Data::Int64(values) => to.int64_contents.clone_from(values),
        Data::Uint8(values) => to.uint_contents = widened(values),
        Data::Uint16(values) => to.uint_contents = widened(values),
        Data::Uint32(values) => to.uint_contents.clone_from(values),
        Data::Uint64(values) => to.uint64_contents.clone_from(values),
        Data::Fp32(values) => to.fp32_contents.clone_from(values),
        Data::Fp64(values) => to.fp64_contents.clone_from(values),
        Data::Bytes(values) => {
            to.bytes_contents = values.iter().map(|it| Bytes::copy_from_slice(it)).collect();
        }
        Data::Fp16(_) | Data::Bf16(_) => {}
    }
    to
}

fn widened<N: Copy, W: From<N>>(values: &[N]) -> Vec<W> {
    values.iter().map(|&value| W::from(value)).collect()
}

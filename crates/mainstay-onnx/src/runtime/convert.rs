//! Tensors of the protocol to onnxruntime's and back. On the way in, numbers are borrowed.

use mainstay_protocol::tensor::{Data, Datatype, Tensor};
use ort::session::SessionInputValue;
use ort::value::{DynValue, PrimitiveTensorElementType, TensorElementType, TensorRef};
use tract_onnx::prelude::tract_data::half::{bf16, f16};

use crate::Error;

/// The protocol's name of onnxruntime's element type.
pub(super) fn datatype(element: TensorElementType) -> Option<Datatype> {
    Some(match element {
        TensorElementType::Bool => Datatype::Bool,
        TensorElementType::Uint8 => Datatype::Uint8,
        TensorElementType::Uint16 => Datatype::Uint16,
        TensorElementType::Uint32 => Datatype::Uint32,
        TensorElementType::Uint64 => Datatype::Uint64,
        TensorElementType::Int8 => Datatype::Int8,
        TensorElementType::Int16 => Datatype::Int16,
        TensorElementType::Int32 => Datatype::Int32,
        TensorElementType::Int64 => Datatype::Int64,
        TensorElementType::Float16 => Datatype::Fp16,
        TensorElementType::Bfloat16 => Datatype::Bf16,
        TensorElementType::Float32 => Datatype::Fp32,
        TensorElementType::Float64 => Datatype::Fp64,
        TensorElementType::String => Datatype::Bytes,
        _ => return None,
    })
}

/// A value for onnxruntime.
pub(super) fn to_native(tensor: &Tensor) -> Result<SessionInputValue<'_>, Error> {
    let shape = tensor.shape.as_slice();
    match &tensor.data {
        Data::Bool(values) => borrowed(shape, values),
        Data::Uint8(values) => borrowed(shape, values),
        Data::Uint16(values) => borrowed(shape, values),
        Data::Uint32(values) => borrowed(shape, values),
        Data::Uint64(values) => borrowed(shape, values),
        Data::Int8(values) => borrowed(shape, values),
        Data::Int16(values) => borrowed(shape, values),
        Data::Int32(values) => borrowed(shape, values),
        Data::Int64(values) => borrowed(shape, values),
        Data::Fp16(bits) => owned(shape, bits.iter().map(|bits| f16::from_bits(*bits)).collect()),
        Data::Bf16(bits) => owned(shape, bits.iter().map(|bits| bf16::from_bits(*bits)).collect()),
        Data::Fp32(values) => borrowed(shape, values),
        Data::Fp64(values) => borrowed(shape, values),
        Data::Bytes(values) => strings(tensor, values),
    }
}

fn failed(cause: ort::Error) -> Error {
    Error::Run(Box::new(cause))
}

fn borrowed<'a, T>(shape: &[usize], values: &'a [T]) -> Result<SessionInputValue<'a>, Error>
where
    T: PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static,
{
    Ok(TensorRef::from_array_view((shape.to_vec(), values)).map_err(failed)?.into())
}

fn owned<T>(shape: &[usize], values: Vec<T>) -> Result<SessionInputValue<'static>, Error>
where
    T: PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static,
{
    let value = ort::value::Tensor::from_array((shape.to_vec(), values)).map_err(failed)?;
    Ok(value.into())
}

/// onnxruntime takes strings that end with a zero byte, so none may hold one.
fn strings(tensor: &Tensor, values: &[Vec<u8>]) -> Result<SessionInputValue<'static>, Error> {
    let texts: Option<Vec<String>> = values
        .iter()
        .map(|value| String::from_utf8(value.clone()).ok().filter(|text| !text.contains('\0')))
        .collect();
    let texts = texts.ok_or_else(|| Error::BadInput {
        tensor: tensor.name.clone(),
        problem: "holds text with a zero byte, which onnxruntime cannot take".to_owned(),
    })?;
    let value = ort::value::Tensor::from_string_array((tensor.shape.clone(), texts.as_slice()))
        .map_err(failed)?;
    Ok(value.into())
}

/// A tensor for the protocol, with the name it has in the model.
pub(super) fn from_native(name: &str, value: &DynValue) -> Result<Tensor, ort::Error> {
    let element = value.dtype().tensor_type().unwrap_or(TensorElementType::Undefined);
    let (shape, data) = match datatype(element) {
        Some(Datatype::Bool) => extracted(value, Data::Bool),
        Some(Datatype::Uint8) => extracted(value, Data::Uint8),
        Some(Datatype::Uint16) => extracted(value, Data::Uint16),
        Some(Datatype::Uint32) => extracted(value, Data::Uint32),
        Some(Datatype::Uint64) => extracted(value, Data::Uint64),
        Some(Datatype::Int8) => extracted(value, Data::Int8),
        Some(Datatype::Int16) => extracted(value, Data::Int16),
        Some(Datatype::Int32) => extracted(value, Data::Int32),
        Some(Datatype::Int64) => extracted(value, Data::Int64),
        Some(Datatype::Fp16) => extracted(value, |all: Vec<f16>| {
            Data::Fp16(all.iter().map(|one| one.to_bits()).collect())
        }),
        Some(Datatype::Bf16) => extracted(value, |all: Vec<bf16>| {
            Data::Bf16(all.iter().map(|one| one.to_bits()).collect())
        }),
        Some(Datatype::Fp32) => extracted(value, Data::Fp32),
        Some(Datatype::Fp64) => extracted(value, Data::Fp64),
        Some(Datatype::Bytes) => {
            let (shape, texts) = value.try_extract_strings()?;
            Ok((sizes(shape), Data::Bytes(texts.into_iter().map(String::into_bytes).collect())))
        }
        None => Err(ort::Error::new(format!("{element:?} has no name in the protocol"))),
    }?;
    Ok(Tensor { name: name.to_owned(), shape, data })
}

fn extracted<T: PrimitiveTensorElementType + Clone>(
    value: &DynValue,
    data: impl FnOnce(Vec<T>) -> Data,
) -> Result<(Vec<usize>, Data), ort::Error> {
    let (shape, values) = value.try_extract_tensor::<T>()?;
    Ok((sizes(shape), data(values.to_vec())))
}

fn sizes(shape: &[i64]) -> Vec<usize> {
    shape.iter().map(|size| usize::try_from(*size).unwrap_or(0)).collect()
}

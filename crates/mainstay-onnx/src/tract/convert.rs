//! Tensors of the protocol to tract's and back. Each way copies once: tract's tensors are
//! aligned for vector instructions, which a `Vec` is not.

use mainstay_protocol::tensor::{Data, Datatype, Tensor};
use tract_onnx::prelude::tract_ndarray::ArrayD;
use tract_onnx::prelude::{Datum, DatumType, IntoTValue, TDim, TValue, TractResult, f16};
use tract_onnx::tract_hir::internal::Tensor as Native;
use tract_onnx::tract_hir::internal::bail;

/// The protocol's name of tract's element type.
pub(super) fn datatype(datum: DatumType) -> Option<Datatype> {
    Some(match datum {
        DatumType::Bool => Datatype::Bool,
        DatumType::U8 => Datatype::Uint8,
        DatumType::U16 => Datatype::Uint16,
        DatumType::U32 => Datatype::Uint32,
        DatumType::U64 => Datatype::Uint64,
        DatumType::I8 => Datatype::Int8,
        DatumType::I16 => Datatype::Int16,
        DatumType::I32 => Datatype::Int32,
        // tract computes shapes with expressions, which come out as plain integers.
        DatumType::I64 | DatumType::TDim => Datatype::Int64,
        DatumType::F16 => Datatype::Fp16,
        DatumType::F32 => Datatype::Fp32,
        DatumType::F64 => Datatype::Fp64,
        DatumType::String => Datatype::Bytes,
        _ => return None,
    })
}

/// A tensor for tract.
pub(super) fn to_tract(tensor: &Tensor) -> TractResult<TValue> {
    let shape = tensor.shape.as_slice();
    let native = match &tensor.data {
        Data::Bool(values) => Native::from_shape(shape, values)?,
        Data::Uint8(values) => Native::from_shape(shape, values)?,
        Data::Uint16(values) => Native::from_shape(shape, values)?,
        Data::Uint32(values) => Native::from_shape(shape, values)?,
        Data::Uint64(values) => Native::from_shape(shape, values)?,
        Data::Int8(values) => Native::from_shape(shape, values)?,
        Data::Int16(values) => Native::from_shape(shape, values)?,
        Data::Int32(values) => Native::from_shape(shape, values)?,
        Data::Int64(values) => Native::from_shape(shape, values)?,
        Data::Fp16(bits) => owned(shape, bits.iter().map(|bits| f16::from_bits(*bits)).collect())?,
        Data::Fp32(values) => Native::from_shape(shape, values)?,
        Data::Fp64(values) => Native::from_shape(shape, values)?,
        Data::Bytes(values) => owned(shape, strings(values)?)?,
        Data::Bf16(_) => bail!("BF16 is not supported"),
    };
    Ok(native.into_tvalue())
}

fn strings(values: &[Vec<u8>]) -> TractResult<Vec<String>> {
    Ok(values.iter().map(|bytes| String::from_utf8(bytes.clone())).collect::<Result<_, _>>()?)
}

/// A tensor of elements that own memory or must be built one by one.
fn owned<T: Datum>(shape: &[usize], values: Vec<T>) -> TractResult<Native> {
    Ok(ArrayD::from_shape_vec(shape, values)?.into())
}

/// A tensor for the protocol, with the name it has in the model.
pub(super) fn from_tract(name: &str, native: &Native) -> TractResult<Tensor> {
    let data = match native.datum_type() {
        DatumType::Bool => Data::Bool(values(native)?),
        DatumType::U8 => Data::Uint8(values(native)?),
        DatumType::U16 => Data::Uint16(values(native)?),
        DatumType::U32 => Data::Uint32(values(native)?),
        DatumType::U64 => Data::Uint64(values(native)?),
        DatumType::I8 => Data::Int8(values(native)?),
        DatumType::I16 => Data::Int16(values(native)?),
        DatumType::I32 => Data::Int32(values(native)?),
        DatumType::I64 => Data::Int64(values(native)?),
        DatumType::TDim => Data::Int64(integers(native)?),
        DatumType::F16 => {
            Data::Fp16(slice::<f16>(native)?.iter().map(|value| value.to_bits()).collect())
        }
        DatumType::F32 => Data::Fp32(values(native)?),
        DatumType::F64 => Data::Fp64(values(native)?),
        DatumType::String => {
            Data::Bytes(slice::<String>(native)?.iter().map(|text| text.clone().into()).collect())
        }
        other => bail!("{other:?} has no name in the protocol"),
    };
    Ok(Tensor { name: name.to_owned(), shape: native.shape().to_vec(), data })
}

fn slice<T: Datum>(native: &Native) -> TractResult<&[T]> {
    native.try_as_plain_ram()?.as_slice::<T>()
}

fn values<T: Datum + Clone>(native: &Native) -> TractResult<Vec<T>> {
    Ok(slice::<T>(native)?.to_vec())
}

fn integers(native: &Native) -> TractResult<Vec<i64>> {
    Ok(slice::<TDim>(native)?.iter().map(TDim::to_i64).collect::<Result<_, _>>()?)
}

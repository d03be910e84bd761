//! The data of a tensor in the binary extension: little-endian elements without padding;
//! `BYTES` elements each after their length as a `u32`.

use crate::{Data, Datatype, Error, Tensor};

/// The elements of `tensor` from exactly `bytes`; `len` is the product of its shape.
///
/// Nothing is allocated before the bytes are known to be there.
pub(super) fn read(
    tensor: &str,
    datatype: Datatype,
    len: usize,
    bytes: &[u8],
) -> Result<Data, Error> {
    let misfit = || Error::Binary { tensor: tensor.to_owned(), found: bytes.len() };
    let Some(width) = datatype.width() else {
        return strings(len, bytes).map(Data::Bytes).ok_or_else(misfit);
    };
    if len.checked_mul(width) != Some(bytes.len()) {
        return Err(misfit());
    }
    Ok(match datatype {
        Datatype::Bool => Data::Bool(bytes.iter().map(|&byte| byte != 0).collect()),
        Datatype::Uint8 | Datatype::Bytes => Data::Uint8(bytes.to_vec()),
        Datatype::Uint16 => Data::Uint16(numbers(bytes, u16::from_le_bytes)),
        Datatype::Uint32 => Data::Uint32(numbers(bytes, u32::from_le_bytes)),
        Datatype::Uint64 => Data::Uint64(numbers(bytes, u64::from_le_bytes)),
        Datatype::Int8 => Data::Int8(numbers(bytes, i8::from_le_bytes)),
        Datatype::Int16 => Data::Int16(numbers(bytes, i16::from_le_bytes)),
        Datatype::Int32 => Data::Int32(numbers(bytes, i32::from_le_bytes)),
        Datatype::Int64 => Data::Int64(numbers(bytes, i64::from_le_bytes)),
        Datatype::Fp16 => Data::Fp16(numbers(bytes, u16::from_le_bytes)),
        Datatype::Bf16 => Data::Bf16(numbers(bytes, u16::from_le_bytes)),
        Datatype::Fp32 => Data::Fp32(numbers(bytes, f32::from_le_bytes)),
        Datatype::Fp64 => Data::Fp64(numbers(bytes, f64::from_le_bytes)),
    })
}

fn numbers<T, const N: usize>(bytes: &[u8], read: fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|chunk| read(*chunk)).collect()
}

/// Exactly `len` strings that fill `bytes`, or `None`.
fn strings(len: usize, mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    if len > bytes.len() / size_of::<u32>() {
        return None;
    }
    let mut values = Vec::with_capacity(len);
    for _ in 0..len {
        let (size, rest) = bytes.split_first_chunk()?;
        let size = usize::try_from(u32::from_le_bytes(*size)).ok()?;
        let (value, rest) = rest.split_at_checked(size)?;
        values.push(value.to_vec());
        bytes = rest;
    }
    bytes.is_empty().then_some(values)
}

/// The bytes of the first string with its length; `None` if there is none.
pub(super) fn string_len(bytes: &[u8]) -> Option<usize> {
    let (size, _) = bytes.split_first_chunk()?;
    usize::try_from(u32::from_le_bytes(*size)).ok()?.checked_add(size.len())
}

/// Appends the elements of `tensor` to `out`.
pub(super) fn write(tensor: &Tensor, out: &mut Vec<u8>) {
    match &tensor.data {
        Data::Bool(values) => out.extend(values.iter().map(|&value| u8::from(value))),
        Data::Uint8(values) => out.extend_from_slice(values),
        Data::Uint16(values) | Data::Fp16(values) | Data::Bf16(values) => {
            put(out, values, u16::to_le_bytes);
        }
        Data::Uint32(values) => put(out, values, u32::to_le_bytes),
        Data::Uint64(values) => put(out, values, u64::to_le_bytes),
        Data::Int8(values) => put(out, values, i8::to_le_bytes),
        Data::Int16(values) => put(out, values, i16::to_le_bytes),
        Data::Int32(values) => put(out, values, i32::to_le_bytes),
        Data::Int64(values) => put(out, values, i64::to_le_bytes),
        Data::Fp32(values) => put(out, values, f32::to_le_bytes),
        Data::Fp64(values) => put(out, values, f64::to_le_bytes),
        Data::Bytes(values) => values.iter().for_each(|value| put_string(out, value)),
    }
}

fn put<T: Copy, const N: usize>(out: &mut Vec<u8>, values: &[T], write: fn(T) -> [u8; N]) {
    out.reserve(values.len().saturating_mul(N));
    values.iter().for_each(|&value| out.extend_from_slice(&write(value)));
}

/// A string with its length; one beyond 4 GiB, which no message limit lets through, is cut.
fn put_string(out: &mut Vec<u8>, value: &[u8]) {
    let size = u32::try_from(value.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&size.to_le_bytes());
    out.extend_from_slice(value.get(..size as usize).unwrap_or(value));
}

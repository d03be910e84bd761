//! Moving rows: the first dimension of a tensor as a batch.

use crate::{Data, Error, Tensor};

/// Runs `$body` on the vector inside `$data` and wraps what it gives in the same variant.
macro_rules! map_values {
    ($data:expr, $values:ident => $body:expr) => {
        match $data {
            Data::Bool($values) => Data::Bool($body),
            Data::Uint8($values) => Data::Uint8($body),
            Data::Uint16($values) => Data::Uint16($body),
            Data::Uint32($values) => Data::Uint32($body),
            Data::Uint64($values) => Data::Uint64($body),
            Data::Int8($values) => Data::Int8($body),
            Data::Int16($values) => Data::Int16($body),
            Data::Int32($values) => Data::Int32($body),
            Data::Int64($values) => Data::Int64($body),
            Data::Fp16($values) => Data::Fp16($body),
            Data::Fp32($values) => Data::Fp32($body),
            Data::Fp64($values) => Data::Fp64($body),
            Data::Bytes($values) => Data::Bytes($body),
            Data::Bf16($values) => Data::Bf16($body),
        }
    };
}

/// The number of elements in one row; `None` when the data is not as long as the shape says.
pub(super) fn width(tensor: &Tensor) -> Option<usize> {
    let inner = tensor.shape.get(1..).unwrap_or_default();
    let width = inner.iter().try_fold(1_usize, |product, &size| product.checked_mul(size))?;
    (width.checked_mul(tensor.rows()) == Some(tensor.data.len())).then_some(width)
}

/// The tensor with only `rows`, in that order.
pub(super) fn gather(tensor: &Tensor, rows: &[usize]) -> Result<Tensor, Error> {
    let total = tensor.rows();
    if let Some(&row) = rows.iter().find(|&&row| row >= total) {
        return Err(Error::NoRow { row, rows: total });
    }
    let (Some(width), [_, inner @ ..]) = (width(tensor), tensor.shape.as_slice()) else {
        let (tensor, expected) = (tensor.name.clone(), rows.len());
        return Err(Error::Rows { tensor, expected, found: total });
    };
    let data = map_values!(&tensor.data, values => pick(values, width, rows));
    let shape = [&[rows.len()], inner].concat();
    Ok(Tensor { name: tensor.name.clone(), shape, data })
}

fn pick<T: Clone>(values: &[T], width: usize, rows: &[usize]) -> Vec<T> {
    rows.iter().flat_map(|row| &values[row * width..(row + 1) * width]).cloned().collect()
}

/// Puts the rows of `from`, in order, in the places `rows` of `into`.
pub(super) fn scatter(into: &mut Tensor, from: Tensor, rows: &[usize]) -> Result<(), Error> {
    if from.rows() != rows.len() {
        let found = from.rows();
        return Err(Error::Rows { tensor: from.name, expected: rows.len(), found });
    }
    let total = into.rows();
    if let Some(&row) = rows.iter().find(|&&row| row >= total) {
        return Err(Error::NoRow { row, rows: total });
    }
    let same_rows = into.shape.get(1..) == from.shape.get(1..) && !into.shape.is_empty();
    let width = width(into).filter(|&width| Some(width) == self::width(&from) && same_rows);
    let name = from.name;
    if width.is_some_and(|width| place(&mut into.data, from.data, width, rows)) {
        Ok(())
    } else {
        Err(Error::Unmergeable { tensor: name })
    }
}

/// Whether the datatypes allowed it: the same, or two floating-point ones.
fn place(into: &mut Data, from: Data, width: usize, rows: &[usize]) -> bool {
    match (into, from) {
        (Data::Bool(into), Data::Bool(from)) => put(into, from, width, rows),
        (Data::Uint8(into), Data::Uint8(from)) => put(into, from, width, rows),
        (Data::Uint16(into), Data::Uint16(from)) => put(into, from, width, rows),
        (Data::Uint32(into), Data::Uint32(from)) => put(into, from, width, rows),
        (Data::Uint64(into), Data::Uint64(from)) => put(into, from, width, rows),
        (Data::Int8(into), Data::Int8(from)) => put(into, from, width, rows),
        (Data::Int16(into), Data::Int16(from)) => put(into, from, width, rows),
        (Data::Int32(into), Data::Int32(from)) => put(into, from, width, rows),
        (Data::Int64(into), Data::Int64(from)) => put(into, from, width, rows),
        (Data::Fp16(into), Data::Fp16(from)) => put(into, from, width, rows),
        (Data::Bf16(into), Data::Bf16(from)) => put(into, from, width, rows),
        (Data::Fp32(into), Data::Fp32(from)) => put(into, from, width, rows),
        (Data::Fp64(into), Data::Fp64(from)) => put(into, from, width, rows),
        (Data::Bytes(into), Data::Bytes(from)) => put(into, from, width, rows),
        (Data::Fp64(into), Data::Fp32(from)) => {
            put(into, from.into_iter().map(f64::from).collect(), width, rows)
        }
        #[expect(clippy::cast_possible_truncation, reason = "the answer's type is the first one's")]
        (Data::Fp32(into), Data::Fp64(from)) => {
            put(into, from.into_iter().map(|value| value as f32).collect(), width, rows)
        }
        _ => false,
    }
}

fn put<T>(into: &mut [T], from: Vec<T>, width: usize, rows: &[usize]) -> bool {
    let places = rows.iter().flat_map(|row| row * width..(row + 1) * width);
    for (place, value) in places.zip(from) {
        into[place] = value;
    }
    true
}

/// The elements repeated `times` over.
pub(super) fn repeat(data: &Data, times: usize) -> Data {
    map_values!(data, values => (0..times).flat_map(|_| values.iter().cloned()).collect())
}

//! Tensors as the Open Inference Protocol names them: a name, a datatype, a shape and data.
//!
//! Only rules, embedded models and default predictions need them; everything else passes
//! through as bytes. Data is row-major, and the first dimension is the batch where a model
//! declares it so.

use std::fmt;
use std::str::FromStr;

/// The element type of a tensor, by the protocol's own names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Datatype {
    /// `BOOL`: one byte, 0 or 1.
    Bool,
    /// `UINT8`.
    Uint8,
    /// `UINT16`.
    Uint16,
    /// `UINT32`.
    Uint32,
    /// `UINT64`.
    Uint64,
    /// `INT8`.
    Int8,
    /// `INT16`.
    Int16,
    /// `INT32`.
    Int32,
    /// `INT64`.
    Int64,
    /// `FP16`: passes through; never read or written as JSON.
    Fp16,
    /// `FP32`.
    Fp32,
    /// `FP64`.
    Fp64,
    /// `BYTES`: strings or blobs of any length.
    Bytes,
    /// `BF16`, a Triton extension: passes through; never read or written as JSON.
    Bf16,
}

impl Datatype {
    /// Every datatype with its name on the wire.
    pub const NAMES: [(Self, &'static str); 14] = [
        (Self::Bool, "BOOL"),
        (Self::Uint8, "UINT8"),
        (Self::Uint16, "UINT16"),
        (Self::Uint32, "UINT32"),
        (Self::Uint64, "UINT64"),
        (Self::Int8, "INT8"),
        (Self::Int16, "INT16"),
        (Self::Int32, "INT32"),
        (Self::Int64, "INT64"),
        (Self::Fp16, "FP16"),
        (Self::Fp32, "FP32"),
        (Self::Fp64, "FP64"),
        (Self::Bytes, "BYTES"),
        (Self::Bf16, "BF16"),
    ];

    /// The name on the wire, for example `FP32`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(datatype, _)| *datatype == self).map_or("", |(_, name)| name)
    }

    /// Bytes of one element in binary form; `None` for `BYTES`, whose elements vary.
    #[must_use]
    pub const fn width(self) -> Option<usize> {
        match self {
            Self::Bool | Self::Uint8 | Self::Int8 => Some(1),
            Self::Uint16 | Self::Int16 | Self::Fp16 | Self::Bf16 => Some(2),
            Self::Uint32 | Self::Int32 | Self::Fp32 => Some(4),
            Self::Uint64 | Self::Int64 | Self::Fp64 => Some(8),
            Self::Bytes => None,
        }
    }
}

impl fmt::Display for Datatype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Datatype {
    type Err = UnknownDatatype;

    fn from_str(name: &str) -> Result<Self, UnknownDatatype> {
        Self::NAMES
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(datatype, _)| *datatype)
            .ok_or_else(|| UnknownDatatype(name.to_owned()))
    }
}

/// A datatype that the protocol does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown datatype {0:?}; the protocol knows BOOL, UINT8 to UINT64, INT8 to INT64, FP16, FP32, FP64, BF16 and BYTES"
)]
pub struct UnknownDatatype(pub String);

/// The elements of a tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// `BOOL`.
    Bool(Vec<bool>),
    /// `UINT8`.
    Uint8(Vec<u8>),
    /// `UINT16`.
    Uint16(Vec<u16>),
    /// `UINT32`.
    Uint32(Vec<u32>),
    /// `UINT64`.
    Uint64(Vec<u64>),
    /// `INT8`.
    Int8(Vec<i8>),
    /// `INT16`.
    Int16(Vec<i16>),
    /// `INT32`.
    Int32(Vec<i32>),
    /// `INT64`.
    Int64(Vec<i64>),
    /// `FP16`, as raw bits.
    Fp16(Vec<u16>),
    /// `FP32`.
    Fp32(Vec<f32>),
    /// `FP64`.
    Fp64(Vec<f64>),
    /// `BYTES`.
    Bytes(Vec<Vec<u8>>),
    /// `BF16`, as raw bits.
    Bf16(Vec<u16>),
}

/// Runs `$body` with `$values` bound to the vector inside any [`Data`].
macro_rules! with_values {
    ($data:expr, $values:ident => $body:expr) => {
        match $data {
            Data::Bool($values) => $body,
            Data::Uint8($values) => $body,
            Data::Uint16($values) => $body,
            Data::Uint32($values) => $body,
            Data::Uint64($values) => $body,
            Data::Int8($values) => $body,
            Data::Int16($values) => $body,
            Data::Int32($values) => $body,
            Data::Int64($values) => $body,
            Data::Fp16($values) | Data::Bf16($values) => $body,
            Data::Fp32($values) => $body,
            Data::Fp64($values) => $body,
            Data::Bytes($values) => $body,
        }
    };
}

impl Data {
    /// The datatype of the elements.
    #[must_use]
    pub const fn datatype(&self) -> Datatype {
        match self {
            Self::Bool(_) => Datatype::Bool,
            Self::Uint8(_) => Datatype::Uint8,
            Self::Uint16(_) => Datatype::Uint16,
            Self::Uint32(_) => Datatype::Uint32,
            Self::Uint64(_) => Datatype::Uint64,
            Self::Int8(_) => Datatype::Int8,
            Self::Int16(_) => Datatype::Int16,
            Self::Int32(_) => Datatype::Int32,
            Self::Int64(_) => Datatype::Int64,
            Self::Fp16(_) => Datatype::Fp16,
            Self::Fp32(_) => Datatype::Fp32,
            Self::Fp64(_) => Datatype::Fp64,
            Self::Bytes(_) => Datatype::Bytes,
            Self::Bf16(_) => Datatype::Bf16,
        }
    }

    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        with_values!(self, values => values.len())
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A named tensor with its data.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// The name by which the model knows it.
    pub name: String,
    /// The dimensions, all known; their product is the number of elements.
    pub shape: Vec<usize>,
    /// The elements, row-major; they also carry the datatype.
    pub data: Data,
}

impl Tensor {
    /// The datatype of the elements.
    #[must_use]
    pub const fn datatype(&self) -> Datatype {
        self.data.datatype()
    }

    /// The size of the first dimension: the number of rows where it is the batch.
    /// A tensor without dimensions is one row.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }
}

/// A tensor as metadata declares it: `-1` on the wire is `None` here, a dimension of any size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// The name by which the model knows it.
    pub name: String,
    /// The element type.
    pub datatype: Datatype,
    /// The dimensions; `None` may be of any size.
    pub shape: Vec<Option<usize>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_datatype() {
        for (datatype, name) in Datatype::NAMES {
            assert_eq!(name.parse(), Ok(datatype));
            assert_eq!(datatype.to_string(), name);
        }
        assert!("FLOAT".parse::<Datatype>().is_err());
    }

    #[test]
    fn a_scalar_is_one_row() {
        let scalar = Tensor { name: "x".into(), shape: vec![], data: Data::Fp32(vec![1.0]) };
        assert_eq!(scalar.rows(), 1);
    }
}

//! Elements of any numeric datatype as `f64`, for rules that compare them.

use crate::{Data, Datatype, Error, Tensor};

/// Whether elements of this type are numbers that rules can compare.
#[must_use]
pub(super) const fn are_numbers(datatype: Datatype) -> bool {
    !matches!(datatype, Datatype::Bool | Datatype::Bytes)
}

/// Whether elements of this type are floating-point numbers.
#[must_use]
pub(super) const fn is_float(datatype: Datatype) -> bool {
    matches!(datatype, Datatype::Fp16 | Datatype::Bf16 | Datatype::Fp32 | Datatype::Fp64)
}

/// The distance from 1 to the next larger number of a floating-point type; 0 for integers.
#[must_use]
pub(super) const fn epsilon(datatype: Datatype) -> f64 {
    match datatype {
        Datatype::Fp64 => f64::EPSILON,
        Datatype::Fp32 => f32::EPSILON as f64,
        Datatype::Fp16 => 1.0 / 1024.0,
        Datatype::Bf16 => 1.0 / 128.0,
        _ => 0.0,
    }
}

/// The element at `index` as a number; NaN where there is none.
///
/// # Errors
/// The tensor holds no numbers.
#[expect(clippy::cast_precision_loss, reason = "rules need no more than 53 bits")]
pub(super) fn at(tensor: &Tensor, index: usize) -> Result<f64, Error> {
    let value = match &tensor.data {
        Data::Fp32(values) => values.get(index).copied().map(f64::from),
        Data::Fp64(values) => values.get(index).copied(),
        Data::Fp16(values) => values.get(index).copied().map(from_half),
        Data::Bf16(values) => values.get(index).copied().map(from_brain),
        Data::Uint8(values) => values.get(index).copied().map(f64::from),
        Data::Uint16(values) => values.get(index).copied().map(f64::from),
        Data::Uint32(values) => values.get(index).copied().map(f64::from),
        Data::Uint64(values) => values.get(index).map(|&value| value as f64),
        Data::Int8(values) => values.get(index).copied().map(f64::from),
        Data::Int16(values) => values.get(index).copied().map(f64::from),
        Data::Int32(values) => values.get(index).copied().map(f64::from),
        Data::Int64(values) => values.get(index).map(|&value| value as f64),
        Data::Bool(_) | Data::Bytes(_) => {
            let (tensor, datatype) = (tensor.name.clone(), tensor.datatype());
            return Err(Error::NotNumeric { tensor, datatype });
        }
    };
    Ok(value.unwrap_or(f64::NAN))
}

/// An IEEE 754 binary16 from its bits.
fn from_half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2_f64.powi(-24),
        0x1f if fraction == 0.0 => f64::INFINITY,
        0x1f => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2_f64.powi(exponent - 15),
    }
}

/// A bfloat16 from its bits: the upper half of an FP32.
fn from_brain(bits: u16) -> f64 {
    f64::from(f32::from_bits(u32::from(bits) << 16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_floats_are_read_by_the_standard() {
        assert_eq!(from_half(0x7bff), 65504.0);
        assert_eq!(from_half(0x0001), 2_f64.powi(-24));
        assert_eq!(from_half(0xc000), -2.0);
        assert!(from_half(0x7c00).is_infinite() && from_half(0x7e00).is_nan());
        assert_eq!(from_brain(0xbf80), -1.0);
    }
}

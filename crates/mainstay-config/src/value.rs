//! Values as people write them: durations, sizes, shares, statuses, and shorthands.
//!
//! An `expecting` text here has two parts, divided by `; `: what was expected, and the remedy.
//! The fault shows the first in its message and the second as its help.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::time::Duration;

use mainstay_policy::Ratio;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Unexpected, Visitor};

use crate::source::Span;
use crate::spanned::Spanned;

/// A duration: `200ms`, `1.5s`, `5m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Length(pub(crate) Duration);

/// A size in bytes: `64KiB`, `8MiB`, `1048576`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) usize);

/// A share: `20%`, `0.2`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share(pub(crate) Ratio);

/// One status or a range of them: `200`, `200-299`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statuses(pub(crate) RangeInclusive<u16>);

/// Splits `1.5s` into the number and its unit.
fn split_unit(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number = text[..end].parse::<f64>().ok()?;
    Some((number, text[end..].trim_start()))
}

/// `200ms` as a duration.
pub(crate) fn parse_length(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text.trim())?;
    let seconds = match unit {
        "us" | "µs" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "m" | "min" => number * 60.0,
        "h" => number * 3600.0,
        "d" => number * 86_400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok().filter(|length| *length <= LONGEST)
}

/// No configured time is longer: a year.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);
/// No configured size is larger: 64 GiB.
const LARGEST: f64 = 68_719_476_736.0;

/// `8MiB` as bytes.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to lie between 0 and 64 GiB"
)]
fn parse_size(text: &str) -> Option<usize> {
    let (number, unit) = split_unit(text.trim())?;
    let factor = match unit {
        "" | "B" => 1.0,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        _ => return None,
    };
    let bytes = number * factor;
    (0.0..=LARGEST).contains(&bytes).then_some(bytes as usize)
}

/// `20%` as a ratio.
#[expect(clippy::cast_possible_truncation, reason = "a share needs no more digits")]
pub(crate) fn parse_share(text: &str) -> Option<Ratio> {
    let percent = text.trim().strip_suffix('%')?.trim_end().parse::<f64>().ok()?;
    Ratio::new((percent / 100.0) as f32)
}

/// `200-299` as a range.
fn parse_statuses(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (100 <= first && first <= last && last <= 599).then_some(first..=last)
}

/// Implements reading and schema for a value that is written as a text or a number.
macro_rules! written_value {
    ($name:ident, $visitor:ident, $expecting:literal, $text:expr, $number:expr, $schema:tt) => {
        struct $visitor;

        impl Visitor<'_> for $visitor {
            type Value = $name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($expecting)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                $text(text).map($name).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<$name, E> {
                $number(number as f64)
                    .map($name)
                    .ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<$name, E> {
                $number(number)
                    .map($name)
                    .ok_or_else(|| E::invalid_value(Unexpected::Float(number), &self))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any($visitor)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

/// A bare number is refused where the unit cannot be guessed.
const fn no_number<T>(_: f64) -> Option<T> {
    None
}

written_value!(
    Length,
    LengthVisitor,
    "a duration; write a number with its unit, for example 200ms, 1.5s, 5m or 1h",
    parse_length,
    no_number,
    { "type": "string", "pattern": r"^[0-9.]+ ?(us|µs|ms|s|m|min|h|d)$" }
);
written_value!(
    Size,
    SizeVisitor,
    "a size; write a number with its unit, for example 64KiB, 8MiB or 1GB",
    parse_size,
    |number: f64| parse_size(&number.to_string()),
    { "type": ["string", "integer"], "pattern": "^[0-9.]+ ?(B|[KMG]iB|[kKMG]B)?$", "minimum": 0 }
);
written_value!(
    Share,
    ShareVisitor,
    "a share of at most 100%; write it in percent, for example 20%",
    parse_share,
    |number: f64| Ratio::new(number as f32),
    { "type": ["string", "number"], "pattern": "^[0-9.]+ ?%$", "minimum": 0, "maximum": 1 }
);
written_value!(
    Statuses,
    StatusesVisitor,
    "a status or a range of them; write for example 200 or 200-299",
    parse_statuses,
    |number: f64| parse_statuses(&number.to_string()),
    { "type": ["string", "integer"], "pattern": "^[1-5][0-9]{2}(-[1-5][0-9]{2})?$" }
);

/// A mapping for which a text may stand.
#[derive(Clone, Debug)]
pub(crate) enum Short<T> {
    Text(String),
    Full(T),
}

/// What the text of a [`Short`] may be.
pub(crate) trait Shorthand: JsonSchema {
    /// What was expected, and the remedy, divided by `; `.
    const EXPECTING: &'static str;

    /// Whether numbers and booleans are taken as texts too.
    const SCALARS: bool = false;

    /// The schema of the text.
    fn text_schema() -> Schema {
        json_schema!({ "type": "string" })
    }
}

impl<'de, T: Deserialize<'de> + Shorthand> Deserialize<'de> for Short<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShortVisitor(PhantomData))
    }
}

struct ShortVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Shorthand> Visitor<'de> for ShortVisitor<T> {
    type Value = Short<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTING)
    }

    fn visit_str<E>(self, text: &str) -> Result<Short<T>, E> {
        Ok(Short::Text(text.to_owned()))
    }

    /// YAML 1.1 called `off` a boolean, so `false` is what some editors make of it.
    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Short<T>, E> {
        match value {
            _ if T::SCALARS => Ok(Short::Text(value.to_string())),
            false => Ok(Short::Text("off".to_owned())),
            true => Err(E::invalid_type(Unexpected::Bool(value), &self)),
        }
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Short<T>, E> {
        if T::SCALARS {
            return Ok(Short::Text(value.to_string()));
        }
        Err(E::invalid_type(Unexpected::Unsigned(value), &self))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Short<T>, E> {
        if T::SCALARS {
            return Ok(Short::Text(value.to_string()));
        }
        Err(E::invalid_type(Unexpected::Signed(value), &self))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Short<T>, E> {
        if T::SCALARS {
            return Ok(Short::Text(value.to_string()));
        }
        Err(E::invalid_type(Unexpected::Float(value), &self))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Short<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Short::Full)
    }
}

impl<T: Shorthand> JsonSchema for Short<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("ShortOr{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [T::text_schema(), generator.subschema_for::<T>()] })
    }
}

/// One mapping, or a list of them.
#[derive(Clone, Debug)]
pub(crate) struct Several<T>(pub(crate) Vec<Spanned<T>>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Several<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SeveralVisitor(PhantomData))
    }
}

struct SeveralVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for SeveralVisitor<T> {
    type Value = Several<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping, or a list of mappings")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Several<T>, A::Error> {
        let value = T::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Several(vec![Spanned { value, span: Span::default(), damaged: false }]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Several<T>, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element()? {
            all.push(item);
        }
        Ok(Several(all))
    }
}

impl<T: JsonSchema> JsonSchema for Several<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Several{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

/// The schema of the text `off`.
pub(crate) fn off_schema() -> Schema {
    json_schema!({ "enum": ["off", false] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_their_unit() {
        assert_eq!(parse_length("200ms"), Some(Duration::from_millis(200)));
        assert_eq!(parse_length("1.5 s"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_length("1h"), Some(Duration::from_secs(3600)));
        for wrong in ["", "10", "ms", "-1s", "1e3s", "1..5s", "9999999d", "1 s s"] {
            assert_eq!(parse_length(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sizes_and_shares_are_bounded() {
        assert_eq!(parse_size("8MiB"), Some(8 << 20));
        assert_eq!(parse_size("512"), Some(512));
        assert_eq!(parse_size("100GiB"), None);
        assert_eq!(parse_share("20%"), Some(Ratio::percent(20)));
        assert_eq!(parse_share("101%"), None);
        assert_eq!(parse_share("20"), None);
    }

    #[test]
    fn statuses_are_http_statuses() {
        assert_eq!(parse_statuses("200-299"), Some(200..=299));
        assert_eq!(parse_statuses("204"), Some(204..=204));
        for wrong in ["299-200", "0-200", "200-", "ok", "200-1000"] {
            assert_eq!(parse_statuses(wrong), None, "{wrong}");
        }
    }
}

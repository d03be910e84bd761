//! The fields of a message, walked over without decoding it.
//!
//! Requests about a model have its name in field 1 and its version in field 2, and all but
//! `ModelInferRequest` have nothing else. Of a field that is there twice the last one counts, for
//! servers and so for us: a reader that stopped at the first would let a client be routed as one
//! model and answered as another.

use crate::Error;

/// The wire type of what has a length.
const DELIMITED: u64 = 2;

/// The tensors that a message may have, however many more its bytes would have room for: an empty
/// one costs two bytes there and two hundred in memory.
const TENSORS: usize = 4096;

/// The fields that the tensors of a message may have together: each costs two bytes there, and up
/// to a hundred in memory. Numbers come many to a field, and texts as raw bytes where there are many.
const FIELDS: usize = 1 << 18;

/// What a request names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named<'a> {
    /// The model.
    pub name: &'a str,
    /// Its version; empty for whichever the server takes.
    pub version: &'a str,
    /// The client's own name for the request, of a prediction.
    pub id: &'a str,
}

/// One field of a message.
struct Field<'a> {
    number: u64,
    wire: u64,
    /// What has a length; empty for numbers.
    bytes: &'a [u8],
    /// The whole field, as it stands there.
    whole: &'a [u8],
}

/// What a request names.
///
/// # Errors
/// It is no message.
pub fn named(message: &[u8]) -> Result<Named<'_>, Error> {
    let mut named = Named::default();
    let mut tensors = 0;
    for field in fields(message) {
        let field = field?;
        match field.number {
            // Readers differ in what they make of a number where something with a length belongs.
            1..=7 if field.wire != DELIMITED => {
                return Err(Error::Message("a name or a tensor is a number".to_owned()));
            }
            1 => named.name = text(field.bytes)?,
            2 => named.version = text(field.bytes)?,
            3 => named.id = text(field.bytes)?,
            _ => tensors += 1,
        }
    }
    if tensors > TENSORS {
        return Err(Error::TooLarge { elements: tensors, limit: TENSORS });
    }
    Ok(named)
}

/// Refuses a message of more fields than a prediction can have.
pub(super) fn check(message: &[u8]) -> Result<(), Error> {
    named(message)?;
    let (mut tensors, mut count) = (vec![message], 0_usize);
    // A tensor, its contents or parameters, and one of these.
    for _depth in 0..3 {
        let mut inner = Vec::new();
        for tensor in tensors {
            for field in fields(tensor) {
                // What cannot be walked over is a text or raw bytes, and no message.
                let Ok(field) = field else { break };
                count += 1;
                if count > FIELDS {
                    return Err(Error::TooLarge { elements: count, limit: FIELDS });
                }
                if matches!(field.number, 4..=6) && !field.bytes.is_empty() {
                    inner.push(field.bytes);
                }
            }
        }
        tensors = inner;
    }
    Ok(())
}

/// The same request for another name and version; all else as it came.
///
/// # Errors
/// It is no message.
pub fn renamed(message: &[u8], name: &str, version: &str) -> Result<Vec<u8>, Error> {
    let mut other = Vec::with_capacity(message.len() + name.len() + version.len() + 8);
    for (number, text) in [(1, name), (2, version)] {
        if !text.is_empty() {
            prost::encoding::string::encode(number, &text.to_owned(), &mut other);
        }
    }
    for field in fields(message) {
        let field = field?;
        if field.number > 2 {
            other.extend_from_slice(field.whole);
        }
    }
    Ok(other)
}

/// The fields of a message that `keeps` wants by their numbers, as a message.
pub(super) fn only(message: &[u8], keeps: impl Fn(u64) -> bool) -> Result<Vec<u8>, Error> {
    let mut kept = Vec::new();
    for field in fields(message) {
        let field = field?;
        if keeps(field.number) {
            kept.extend_from_slice(field.whole);
        }
    }
    Ok(kept)
}

fn text(bytes: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(bytes).map_err(|_| Error::Message("a name is no UTF-8".to_owned()))
}

fn fields(message: &[u8]) -> impl Iterator<Item = Result<Field<'_>, Error>> {
    let mut rest = message;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = field(&mut rest);
        if field.is_none() {
            rest = &[];
        }
        Some(field.ok_or_else(|| Error::Message("a field is cut".to_owned())))
    })
}

/// The field at the front of `rest`; `None` where it is cut, or of no kind that is still in use.
fn field<'a>(rest: &mut &'a [u8]) -> Option<Field<'a>> {
    let start = *rest;
    let key = varint(rest)?;
    let (number, wire) = (key >> 3, key & 7);
    let mut bytes: &[u8] = &[];
    match wire {
        0 => drop(varint(rest)?),
        1 => *rest = rest.get(8..)?,
        DELIMITED => {
            let length = usize::try_from(varint(rest)?).ok()?;
            (bytes, *rest) = rest.split_at_checked(length)?;
        }
        5 => *rest = rest.get(4..)?,
        _ => return None,
    }
    let whole = &start[..start.len() - rest.len()];
    (number != 0).then_some(Field { number, wire, bytes, whole })
}

/// A number in base 128 (up to ten bytes), least significant group first.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for at in 0..10 {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

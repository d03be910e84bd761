//! Names, kept in lower case and without the dot at their end.

use std::fmt;

use super::Error;

/// Of one label (RFC 1035, section 2.3.4).
const MAX_LABEL: usize = 63;
/// Of a name as it is sent, lengths and root included.
const MAX_WIRE: usize = 255;

/// A domain name, for example `models.internal` or `_oip._tcp.models.internal`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// A name as people write it; `None` if it is none. A dot at its end is dropped.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let fits = text.len() + 2 <= MAX_WIRE;
        let sound =
            |label: &str| (1..=MAX_LABEL).contains(&label.len()) && label.bytes().all(is_sound);
        (fits && text.split('.').all(sound)).then(|| Self(text.to_ascii_lowercase()))
    }

    /// The name, in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How many dots are in it: what `ndots` of resolv.conf counts.
    #[must_use]
    pub fn dots(&self) -> usize {
        self.0.bytes().filter(|byte| *byte == b'.').count()
    }

    /// The name below a domain; `None` if it would be too long.
    #[must_use]
    pub fn below(&self, domain: &Self) -> Option<Self> {
        Self::parse(&format!("{}.{}", self.0, domain.0))
    }

    /// Appends it as it is sent.
    pub(super) fn write(&self, to: &mut Vec<u8>) {
        for label in self.0.split('.') {
            // A label has at most 63 bytes.
            to.push(label.len().to_le_bytes()[0]);
            to.extend_from_slice(label.as_bytes());
        }
        to.push(0);
    }

    /// Reads the name at `at`; gives it with the place behind it. `None` stands for the root.
    pub(super) fn read(bytes: &[u8], at: usize) -> Result<(Option<Self>, usize), Error> {
        let mut text = String::new();
        let (mut at, mut behind) = (at, None);
        // A pointer leads back, each further than the one before, so that this ends.
        let mut before = at;
        loop {
            let length = *bytes.get(at).ok_or(Error::Malformed)?;
            match length {
                0 => break,
                1..=63 => {
                    let label = bytes.get(at + 1..at + 1 + usize::from(length));
                    push(&mut text, label.ok_or(Error::Malformed)?)?;
                    at += 1 + usize::from(length);
                }
                0xc0.. => {
                    let low = *bytes.get(at + 1).ok_or(Error::Malformed)?;
                    behind = behind.or(Some(at + 2));
                    at = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                    if at >= before {
                        return Err(Error::Malformed);
                    }
                    before = at;
                }
                _ => return Err(Error::Malformed),
            }
        }
        let name = (!text.is_empty()).then_some(Self(text));
        Ok((name, behind.unwrap_or(at + 1)))
    }
}

/// Appends a label to a name that stays within bounds.
fn push(text: &mut String, label: &[u8]) -> Result<(), Error> {
    if text.len() + label.len() + 3 > MAX_WIRE || !label.iter().copied().all(is_sound) {
        return Err(Error::Malformed);
    }
    if !text.is_empty() {
        text.push('.');
    }
    text.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
    Ok(())
}

/// Host names, and underscores as in services. Anything else could end up in logs and headers.
const fn is_sound(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

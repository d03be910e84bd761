//! What an operator wants to know of an X.509 certificate (RFC 5280): whose it is, and until when.
//!
//! Only that is read, out of the DER encoding (X.690). Whether a certificate is to be trusted is
//! not decided here: rustls does. A general parser would bring its own clock and a dozen crates.

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const BITS: u8 = 0x03;
const OCTETS: u8 = 0x04;
const BOOLEAN: u8 = 0x01;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The version and the extensions, which are there or not.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// Names within subjectAltName: mail, DNS, URI.
const ALTERNATIVES: [u8; 3] = [0x81, 0x82, 0x86];
/// 2.5.4.3: the common name.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// 2.5.29.17: other names of the subject.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// Kinds of public keys: 1.2.840.113549.1.1.1, 1.2.840.10045.2.1 and 1.3.101.112.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
/// Curves: 1.2.840.10045.3.1.7 and 1.3.132.0.34.
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];

/// What a certificate says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// The common name of its subject; empty if there is none.
    pub subject: String,
    /// Its other names: DNS names, URIs and mail addresses.
    pub names: Vec<String>,
    /// The second after which it is not valid any more, since 1970.
    pub not_after: u64,
}

impl Certificate {
    /// Reads a certificate; `None` if these bytes are none.
    #[must_use]
    pub fn read(der: &[u8]) -> Option<Self> {
        let mut whole = Der(der);
        let mut certificate = whole.enter(SEQUENCE)?;
        let mut body = certificate.enter(SEQUENCE)?;
        if body.peek() == Some(VERSION) {
            body.any()?;
        }
        // Serial number, algorithm and issuer.
        for _ in 0..3 {
            body.any()?;
        }
        let mut validity = body.enter(SEQUENCE)?;
        validity.any()?;
        let (tag, end) = validity.any()?;
        let not_after = time(tag, end)?;
        let subject = common_name(body.enter(SEQUENCE)?).unwrap_or_default();
        let mut names = Vec::new();
        while let Some((tag, content)) = body.any() {
            if tag == EXTENSIONS {
                names = alternatives(content).unwrap_or_default();
            }
        }
        Some(Self { subject, names, not_after })
    }

    /// Whether this is one of its names.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        (!self.subject.is_empty() && self.subject == name) || self.names.iter().any(|it| it == name)
    }
}

/// A public key, as ring takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicKey<'d> {
    /// RSA: modulus and exponent in DER.
    Rsa(&'d [u8]),
    /// A point on P-256.
    P256(&'d [u8]),
    /// A point on P-384.
    P384(&'d [u8]),
    /// Ed25519.
    Ed25519(&'d [u8]),
}

/// The key in a `SubjectPublicKeyInfo`; `None` for kinds that are not known.
#[must_use]
pub fn public_key(der: &[u8]) -> Option<PublicKey<'_>> {
    let mut info = Der(der).enter(SEQUENCE)?;
    let mut algorithm = info.enter(SEQUENCE)?;
    let name = algorithm.enter(OID)?.0;
    // The first byte says how many bits of the last one are not used: none.
    let (&unused, key) = info.enter(BITS)?.0.split_first()?;
    if unused != 0 {
        return None;
    }
    match name {
        RSA => Some(PublicKey::Rsa(key)),
        ED25519 => Some(PublicKey::Ed25519(key)),
        EC => match algorithm.enter(OID)?.0 {
            P256 => Some(PublicKey::P256(key)),
            P384 => Some(PublicKey::P384(key)),
            _ => None,
        },
        _ => None,
    }
}

/// A row of encoded values.
struct Der<'d>(&'d [u8]);

impl<'d> Der<'d> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next value: its tag and its content.
    fn any(&mut self) -> Option<(u8, &'d [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let length = if first < 0x80 {
            usize::from(first)
        } else {
            // Longer than four bytes is longer than any certificate.
            let count = usize::from(first & 0x7f);
            if !(1..=4).contains(&count) || rest.len() < count {
                return None;
            }
            let (digits, behind) = rest.split_at(count);
            rest = behind;
            digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit))
        };
        let content = rest.get(..length)?;
        self.0 = &rest[length..];
        Some((tag, content))
    }

    /// The content of the next value, which must be of this kind.
    fn enter(&mut self, tag: u8) -> Option<Self> {
        self.any().filter(|(found, _)| *found == tag).map(|(_, content)| Self(content))
    }
}

fn common_name(mut subject: Der<'_>) -> Option<String> {
    while let Some(mut set) = subject.enter(SET) {
        let mut pair = set.enter(SEQUENCE)?;
        if pair.enter(OID)?.0 == COMMON_NAME {
            return text(pair.any()?.1);
        }
    }
    None
}

fn alternatives(extensions: &[u8]) -> Option<Vec<String>> {
    let mut list = Der(extensions).enter(SEQUENCE)?;
    while let Some(mut extension) = list.enter(SEQUENCE) {
        if extension.enter(OID)?.0 != SUBJECT_ALT_NAME {
            continue;
        }
        if extension.peek() == Some(BOOLEAN) {
            extension.any()?;
        }
        let mut names = extension.enter(OCTETS)?.enter(SEQUENCE)?;
        let names = std::iter::from_fn(|| names.any());
        let names = names.filter(|(tag, _)| ALTERNATIVES.contains(tag));
        return Some(names.filter_map(|(_, name)| text(name)).collect());
    }
    None
}

/// A name that logs and metrics can show.
fn text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.chars().any(char::is_control)).then(|| text.to_owned())
}

/// Seconds since 1970 of `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` (RFC 5280, section 4.1.2.5).
fn time(tag: u8, text: &[u8]) -> Option<u64> {
    let digits = text.strip_suffix(b"Z")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |from: usize| -> Option<u64> {
        let pair = digits.get(from..from + 2)?;
        Some(u64::from(pair[0] - b'0') * 10 + u64::from(pair[1] - b'0'))
    };
    let (year, from) = match (tag, digits.len()) {
        (UTC_TIME, 12) => {
            let year = number(0)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, 2)
        }
        (GENERALIZED_TIME, 14) => (number(0)? * 100 + number(2)?, 4),
        _ => return None,
    };
    let (month, day) = (number(from)?, number(from + 2)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let days = days_before(year, month)? + day - 1;
    let seconds = number(from + 4)? * 3600 + number(from + 6)? * 60 + number(from + 8)?;
    Some(days * 86_400 + seconds)
}

/// Days from 1970 to the first of this month, by the Gregorian calendar.
fn days_before(year: u64, month: u64) -> Option<u64> {
    const BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    if !(1970..=9999).contains(&year) {
        return None;
    }
    let leaps = |year: u64| year / 4 - year / 100 + year / 400;
    let past = year - 1;
    let is_leap = leaps(year) > leaps(past);
    let days = (year - 1970) * 365 + leaps(past) - leaps(1969);
    let month = usize::try_from(month - 1).ok()?;
    Some(days + BEFORE.get(month)? + u64::from(is_leap && month > 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_since_1970() {
        assert_eq!(time(UTC_TIME, b"700101000000Z"), Some(0));
        assert_eq!(time(UTC_TIME, b"240229120000Z"), Some(1_709_208_000));
        assert_eq!(time(UTC_TIME, b"261121174104Z"), Some(1_795_282_864));
        assert_eq!(time(GENERALIZED_TIME, b"20991231235959Z"), Some(4_102_444_799));
        assert_eq!(time(GENERALIZED_TIME, b"21000301000000Z"), Some(4_107_542_400), "no leap year");
        for wrong in ["", "Z", "7001010000Z", "701301000000Z", "70010100000xZ", "700101000000"] {
            assert_eq!(time(UTC_TIME, wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_cut_anywhere_is_no_certificate_and_no_panic() {
        // 30 len 30 len serial, algorithm, issuer, validity, subject.
        let mut tbs = vec![0x02, 1, 1, 0x30, 0, 0x30, 0, 0x30, 30];
        for _ in 0..2 {
            tbs.extend([0x17, 13]);
            tbs.extend(b"700101000001Z");
        }
        tbs.extend([0x30, 13, 0x31, 11, 0x30, 9, 0x06, 3, 0x55, 4, 3, 0x0c, 2, b'g', b'w']);
        let length = u8::try_from(tbs.len()).unwrap();
        let mut der = vec![0x30, length + 2, 0x30, length];
        der.extend(tbs);
        let read = Certificate::read(&der).unwrap();
        assert_eq!((read.subject.as_str(), read.not_after), ("gw", 1));
        assert!(read.is_named("gw") && !read.is_named(""));
        for end in 0..der.len() {
            assert_eq!(Certificate::read(&der[..end]), None);
        }
        assert_eq!(Certificate::read(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}

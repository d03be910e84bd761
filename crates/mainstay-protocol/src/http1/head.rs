//! Reading the head of an answer.

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, StatusCode};
use httparse::{ParserConfig, Status};

use super::body::Decoder;
use super::{Error, MAX_FIELDS, MAX_HEAD};

/// The head of an answer.
#[derive(Debug)]
pub struct Head {
    /// 200 to 999: interim answers are passed over.
    pub status: StatusCode,
    /// Its fields but those that frame the body: Transfer-Encoding, and a Connection that only
    /// says whether it closes.
    pub headers: HeaderMap,
    /// For the body that follows.
    pub body: Decoder,
    /// Whether another request may follow on the connection once the body has ended.
    pub keep_alive: bool,
}

/// Takes an answer's head out of `buffer`; `None` while it is not complete. `bodiless` says that
/// the request was a HEAD, whose answer has no body whatever its fields say.
///
/// # Errors
/// The server does not speak HTTP/1.1, or its head cannot be trusted; the connection is lost.
pub fn read_head(buffer: &mut BytesMut, bodiless: bool) -> Result<Option<Head>, Error> {
    loop {
        let mut found = Found::default();
        let Some(length) = found.parse(buffer)? else {
            // Interim heads were taken out: what is here belongs to one head.
            return if buffer.len() > MAX_HEAD { Err(Error::HeadTooLong) } else { Ok(None) };
        };
        let bytes = buffer.split_to(length).freeze();
        match found.status {
            101 => return Err(Error::Upgraded),
            100..=199 => {}
            _ => return found.head(&bytes, bodiless).map(Some),
        }
    }
}

/// Where things are in the bytes of a head.
struct Found {
    status: u16,
    old: bool,
    fields: [(Range<u16>, Range<u16>); MAX_FIELDS],
    count: usize,
}

impl Default for Found {
    fn default() -> Self {
        let fields = [const { (0..0, 0..0) }; MAX_FIELDS];
        Self { status: 0, old: false, fields, count: 0 }
    }
}

impl Found {
    /// Finds the fields of a complete head; gives its length.
    fn parse(&mut self, buffer: &[u8]) -> Result<Option<usize>, Error> {
        let mut room = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut []);
        let parsed = ParserConfig::default().parse_response_with_uninit_headers(
            &mut response,
            buffer,
            &mut room,
        );
        let length = match parsed {
            Ok(Status::Complete(length)) if length <= MAX_HEAD => length,
            Ok(Status::Complete(_)) | Err(httparse::Error::TooManyHeaders) => {
                return Err(Error::HeadTooLong);
            }
            Ok(Status::Partial) => return Ok(None),
            Err(_) => return Err(Error::Head),
        };
        let start = buffer.as_ptr() as usize;
        let place = |part: &[u8]| {
            // Within the first MAX_HEAD bytes, so that both ends fit.
            let from = (part.as_ptr() as usize - start) as u16;
            from..from + part.len() as u16
        };
        self.status = response.code.unwrap_or_default();
        self.old = response.version == Some(0);
        self.count = response.headers.len();
        for (field, at) in response.headers.iter().zip(&mut self.fields) {
            *at = (place(field.name.as_bytes()), place(field.value));
        }
        Ok(Some(length))
    }

    fn head(&self, bytes: &Bytes, bodiless: bool) -> Result<Head, Error> {
        let status = StatusCode::from_u16(self.status).map_err(|_| Error::Head)?;
        let mut headers = HeaderMap::with_capacity(self.count);
        let mut framing = Framing { old: self.old, ..Framing::default() };
        for (name, value) in &self.fields[..self.count] {
            let name = HeaderName::from_bytes(&bytes[wide(name)]).map_err(|_| Error::Head)?;
            let mut value = HeaderValue::from_maybe_shared(bytes.slice(wide(value)))
                .map_err(|_| Error::Head)?;
            if framing.wants(&name, &mut value)? {
                headers.append(name, value);
            }
        }
        let empty = self.status == 204;
        let body = framing.body(bodiless || empty || self.status == 304, &mut headers)?;
        // A body where there may be none would be read as the next answer.
        let stray = empty && framing.announces_body();
        let keep_alive = framing.keeps_alive() && !stray && !body.is_until_close();
        Ok(Head { status, headers, body, keep_alive })
    }
}

const fn wide(range: &Range<u16>) -> Range<usize> {
    range.start as usize..range.end as usize
}

/// What the fields of a head say of its body and its connection (RFC 9112, section 6.3).
#[derive(Default)]
struct Framing {
    /// HTTP/1.0.
    old: bool,
    length: Option<u64>,
    chunked: bool,
    /// The connection is to be closed; whoever says so wins (RFC 9112, section 9.3).
    close: bool,
    keep_alive: bool,
}

impl Framing {
    /// Looks at a field; whether it is to be passed on.
    fn wants(&mut self, name: &HeaderName, value: &mut HeaderValue) -> Result<bool, Error> {
        if *name == CONTENT_LENGTH {
            let first = self.length.is_none();
            let agreed = length(value, self.length)?;
            self.length = Some(agreed);
            if first && value.as_bytes().contains(&b',') {
                // Said more than once: once is enough, and all that others understand.
                *value = HeaderValue::from(agreed);
            }
            return Ok(first);
        }
        if *name == TRANSFER_ENCODING {
            let known = value.as_bytes().eq_ignore_ascii_case(b"chunked");
            if !known || self.chunked {
                return Err(Error::TransferCoding);
            }
            self.chunked = true;
            return Ok(false);
        }
        if *name == CONNECTION {
            let mut others = false;
            for option in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                if option.eq_ignore_ascii_case(b"close") {
                    self.close = true;
                } else if option.eq_ignore_ascii_case(b"keep-alive") {
                    self.keep_alive = true;
                } else {
                    others = true;
                }
            }
            return Ok(others);
        }
        Ok(true)
    }

    const fn keeps_alive(&self) -> bool {
        // Chunks are none of HTTP/1.0's (section 6.1).
        !self.close && (!self.old || (self.keep_alive && !self.chunked))
    }

    fn announces_body(&self) -> bool {
        self.chunked || self.length.is_some_and(|length| length > 0)
    }

    fn body(&mut self, bodiless: bool, headers: &mut HeaderMap) -> Result<Decoder, Error> {
        if self.chunked && self.length.is_some() {
            // Whoever stands between may have believed the other one: nothing may follow.
            headers.remove(CONTENT_LENGTH);
            self.close = true;
        }
        Ok(match (bodiless, self.chunked, self.length) {
            (true, ..) => Decoder::none(),
            (_, true, _) => Decoder::chunked(),
            (_, _, Some(length)) => Decoder::length(length),
            (_, _, None) => Decoder::until_close(),
        })
    }
}

/// A Content-Length that agrees with what was `said` before.
fn length(value: &HeaderValue, said: Option<u64>) -> Result<u64, Error> {
    let mut agreed = said;
    for number in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
        let digits = !number.is_empty() && number.iter().all(u8::is_ascii_digit);
        let length = std::str::from_utf8(number).ok().filter(|_| digits);
        let length: u64 = length.and_then(|text| text.parse().ok()).ok_or(Error::Length)?;
        if agreed.is_some_and(|agreed| agreed != length) {
            return Err(Error::Length);
        }
        agreed = Some(length);
    }
    agreed.ok_or(Error::Length)
}

//! Which headers stay on which side.
//!
//! Hop-by-hop headers belong to one connection (RFC 9110, section 7.6.1). `x-mainstay-*` belong
//! to the gateway: what a client or a server sends under that name is dropped, so that nobody
//! can be made to believe a mark that the gateway did not set.

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HeaderMap, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

use mainstay_telemetry::RequestId;

/// On every answer: the identity under which its decision record can be read.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-mainstay-request-id");
/// On degraded and retried answers: who answered.
pub(super) const SERVED_BY: HeaderName = HeaderName::from_static("x-mainstay-served-by");
/// `true` on answers of lesser quality, absent on others.
pub(super) const DEGRADED: HeaderName = HeaderName::from_static("x-mainstay-degraded");
/// On degraded answers: why the first step did not answer.
pub(super) const REASON: HeaderName = HeaderName::from_static("x-mainstay-reason");
/// On degraded and retried answers: every attempt and what became of it.
pub(super) const TRAIL: HeaderName = HeaderName::from_static("x-mainstay-trail");
/// On the gateway's own errors: the code of the page that says what to do.
pub(super) const ERROR: HeaderName = HeaderName::from_static("x-mainstay-error");
/// On the gateway's own errors: whether sending the request again is safe.
pub(super) const RETRY: HeaderName = HeaderName::from_static("x-mainstay-retry");
/// From a client: `never` refuses answers of lesser quality.
pub(super) const DEGRADE: HeaderName = HeaderName::from_static("x-mainstay-degrade");
/// From a client: its name for the request, under which it is executed once
/// (draft-ietf-httpapi-idempotency-key-header).
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// On answers that are given again: the request that was executed.
pub(super) const REPLAY_OF: HeaderName = HeaderName::from_static("x-mainstay-replay-of");
/// From a client: how long it will wait, for example `150ms` or `0.5` (seconds). To servers: what
/// is left of that.
pub(super) const REQUEST_TIMEOUT: HeaderName = HeaderName::from_static("x-request-timeout");
/// On last good answers: how long ago the servers gave them, in seconds (RFC 9111, section 5.1).
pub(super) const AGE: HeaderName = http::header::AGE;
/// The length of the JSON part of a body with binary tensors.
pub(super) const INFERENCE_HEADER_LENGTH: HeaderName =
    HeaderName::from_static("inference-header-content-length");

/// To servers of another region: the request came from there for want of room or servers. A
/// gateway that gets it does not send the request to another region again.
pub(super) const SPILLED: HeaderName = HeaderName::from_static("x-mainstay-spilled");

const OWN_PREFIX: &str = "x-mainstay-";

/// Headers of one connection only.
static HOP_BY_HOP: [HeaderName; 10] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    TRANSFER_ENCODING,
    EXPECT,
    TE,
    TRAILER,
    UPGRADE,
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
];

/// The identity of a request as a header's value: sixteen hexadecimal digits.
pub(super) fn request_id(id: RequestId) -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 16];
    for (at, digit) in text.iter_mut().enumerate() {
        *digit = DIGITS[(id.0 >> (60 - 4 * at) & 0xf) as usize];
    }
    // Hexadecimal digits are always a valid value.
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("0"))
}

/// What one look at the names of a message's headers finds. To ask for each of them in turn
/// would cost a hash each, and most messages have none of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Which of [`HOP_BY_HOP`], as bits.
    local: u16,
    /// Names that only the gateway may use.
    own: bool,
    /// Cookies, which HTTP/2 may spread over several fields.
    cookie: bool,
    /// [`REQUEST_TIMEOUT`].
    pub(super) timeout: bool,
    /// [`INFERENCE_HEADER_LENGTH`].
    pub(super) json_len: bool,
}

impl Seen {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut seen = Self::default();
        for name in headers.keys() {
            match name.as_str() {
                "connection" => seen.local |= 1,
                "keep-alive" => seen.local |= 1 << 1,
                "transfer-encoding" => seen.local |= 1 << 2,
                "expect" => seen.local |= 1 << 3,
                "te" => seen.local |= 1 << 4,
                "trailer" => seen.local |= 1 << 5,
                "upgrade" => seen.local |= 1 << 6,
                "proxy-connection" => seen.local |= 1 << 7,
                "proxy-authenticate" => seen.local |= 1 << 8,
                "proxy-authorization" => seen.local |= 1 << 9,
                "cookie" => seen.cookie = true,
                "x-request-timeout" => seen.timeout = true,
                "inference-header-content-length" => seen.json_len = true,
                name => seen.own |= name.starts_with(OWN_PREFIX),
            }
        }
        seen
    }

    /// Whether a gateway of another region sent it.
    pub(super) fn was_spilled(self, headers: &HeaderMap) -> bool {
        self.own && headers.contains_key(SPILLED)
    }

    /// Whether the client refuses answers of lesser quality.
    pub(super) fn refuses_degraded(self, headers: &HeaderMap) -> bool {
        self.own && headers.get(DEGRADE).is_some_and(|value| value.as_bytes() == b"never")
    }
}

/// Drops what belongs to the other side's connection, and what only the gateway may say.
pub(super) fn clean(headers: &mut HeaderMap, seen: Seen) {
    let mut local = seen.local;
    if local & 1 != 0 {
        drop_named_by_connection(headers);
    }
    while local != 0 {
        headers.remove(&HOP_BY_HOP[local.trailing_zeros() as usize]);
        local &= local - 1;
    }
    if seen.own {
        drop_own(headers);
    }
    if seen.cookie {
        join_cookies(headers);
    }
}

/// The length of the JSON part that the headers of a message name.
pub(super) fn json_len(headers: &HeaderMap) -> Option<usize> {
    headers.get(INFERENCE_HEADER_LENGTH).and_then(number)
}

/// A header's value as a number; `None` where it is none.
pub(super) fn number(value: &HeaderValue) -> Option<usize> {
    value.to_str().ok()?.trim().parse().ok()
}

/// Makes the headers fit a body of `len` bytes.
pub(super) fn describe_body(headers: &mut HeaderMap, len: usize, json_len: Option<usize>) {
    headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
    match json_len {
        Some(json_len) => {
            headers.insert(INFERENCE_HEADER_LENGTH, HeaderValue::from(json_len));
        }
        None => {
            headers.remove(INFERENCE_HEADER_LENGTH);
        }
    }
}

/// Drops what the message itself declares to be of one connection only.
fn drop_named_by_connection(headers: &mut HeaderMap) {
    let is_option = |name: &str| {
        ["", "keep-alive", "close"].iter().any(|option| name.eq_ignore_ascii_case(option))
    };
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(str::trim))
        .filter(|name| !is_option(name))
        .filter_map(|name| name.parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
}

/// Makes one field of the cookies that HTTP/2 let come in several: servers of HTTP/1.1 look at the
/// first alone (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() < 2 {
        return;
    }
    // What was valid in parts is valid as a whole.
    if let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

/// Drops what only the gateway may say.
fn drop_own(headers: &mut HeaderMap) {
    let is_own = |name: &&HeaderName| name.as_str().starts_with(OWN_PREFIX);
    let own: Vec<HeaderName> = headers.keys().filter(is_own).cloned().collect();
    for name in own {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean_all(headers: &mut HeaderMap) {
        let seen = Seen::of(headers);
        clean(headers, seen);
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn hop_by_hop_headers_and_those_they_name_are_dropped() {
        let mut seen = headers(&[
            ("connection", "close, X-Private"),
            ("x-private", "1"),
            ("te", "trailers"),
            ("keep-alive", "timeout=5"),
            ("content-type", "application/json"),
        ]);
        clean_all(&mut seen);
        assert_eq!(seen, headers(&[("content-type", "application/json")]));
    }

    #[test]
    fn every_hop_by_hop_header_is_dropped() {
        for name in &HOP_BY_HOP {
            let mut seen = headers(&[("accept", "*/*")]);
            seen.insert(name, HeaderValue::from_static("x"));
            clean_all(&mut seen);
            assert_eq!(seen, headers(&[("accept", "*/*")]), "{name}");
        }
    }

    #[test]
    fn cookies_of_several_fields_become_one() {
        let mut seen = HeaderMap::new();
        for cookie in ["a=1", "b=2", "c=3"] {
            seen.append(COOKIE, HeaderValue::from_static(cookie));
        }
        clean_all(&mut seen);
        assert_eq!(seen, headers(&[("cookie", "a=1; b=2; c=3")]));
    }

    #[test]
    fn a_request_id_reads_as_it_is_written_elsewhere() {
        let id = RequestId(0x0123_4567_89ab_cdef);
        assert_eq!(request_id(id).to_str().unwrap(), id.to_string());
    }

    #[test]
    fn nobody_else_speaks_for_the_gateway() {
        let mut seen = headers(&[("x-mainstay-degraded", "false"), ("accept", "*/*")]);
        clean_all(&mut seen);
        assert_eq!(seen, headers(&[("accept", "*/*")]));
    }
}

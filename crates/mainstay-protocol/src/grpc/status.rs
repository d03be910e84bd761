//! Statuses, their texts, and time limits, as headers and trailers carry them.

use std::borrow::Cow;
use std::time::Duration;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode, utf8_percent_encode};

/// What must be encoded in `grpc-message`: all but visible ASCII, and the percent sign itself.
const MESSAGE: &AsciiSet = &CONTROLS.add(b'%');

/// The longest text of a status that is sent: metadata has limits at clients.
const MESSAGE_LENGTH: usize = 2 * 1024;

/// The status of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// It succeeded.
    Ok = 0,
    /// It was called off.
    Cancelled = 1,
    /// Something failed that has no name.
    Unknown = 2,
    /// The request is at fault.
    InvalidArgument = 3,
    /// Its time was over.
    DeadlineExceeded = 4,
    /// What it asks for is not there.
    NotFound = 5,
    /// What it makes is there already.
    AlreadyExists = 6,
    /// The caller may not.
    PermissionDenied = 7,
    /// Something is used up.
    ResourceExhausted = 8,
    /// The server is not in the state for it.
    FailedPrecondition = 9,
    /// It met another one.
    Aborted = 10,
    /// It asks beyond the end.
    OutOfRange = 11,
    /// The server cannot do that.
    Unimplemented = 12,
    /// The server failed.
    Internal = 13,
    /// The server cannot do it now.
    Unavailable = 14,
    /// Data is lost.
    DataLoss = 15,
    /// The caller is not known.
    Unauthenticated = 16,
}

impl Code {
    /// Every code with its name and the HTTP status that stands for it (google/rpc/code.proto).
    pub const ALL: [(Self, &'static str, u16); 17] = [
        (Self::Ok, "OK", 200),
        (Self::Cancelled, "CANCELLED", 499),
        (Self::Unknown, "UNKNOWN", 500),
        (Self::InvalidArgument, "INVALID_ARGUMENT", 400),
        (Self::DeadlineExceeded, "DEADLINE_EXCEEDED", 504),
        (Self::NotFound, "NOT_FOUND", 404),
        (Self::AlreadyExists, "ALREADY_EXISTS", 409),
        (Self::PermissionDenied, "PERMISSION_DENIED", 403),
        (Self::ResourceExhausted, "RESOURCE_EXHAUSTED", 429),
        (Self::FailedPrecondition, "FAILED_PRECONDITION", 400),
        (Self::Aborted, "ABORTED", 409),
        (Self::OutOfRange, "OUT_OF_RANGE", 400),
        (Self::Unimplemented, "UNIMPLEMENTED", 501),
        (Self::Internal, "INTERNAL", 500),
        (Self::Unavailable, "UNAVAILABLE", 503),
        (Self::DataLoss, "DATA_LOSS", 500),
        (Self::Unauthenticated, "UNAUTHENTICATED", 401),
    ];

    /// The code of `grpc-status`; what is no code is [`Code::Unknown`], as clients take it.
    #[must_use]
    pub fn parse(value: &[u8]) -> Self {
        let number = std::str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok());
        let known = number.and_then(|number: usize| Self::ALL.get(number));
        known.map_or(Self::Unknown, |(code, ..)| *code)
    }

    /// The value of `grpc-status`.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Its name in the specification.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL[usize::from(self.number())].1
    }

    /// The HTTP status that stands for it.
    #[must_use]
    pub fn http(self) -> u16 {
        Self::ALL[usize::from(self.number())].2
    }

    /// What an error of HTTP is over gRPC: an error that the gateway, not something before it,
    /// says by this status.
    #[must_use]
    pub const fn of_http(status: u16) -> Self {
        match status {
            200..=299 => Self::Ok,
            400 | 422 => Self::InvalidArgument,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::NotFound,
            405 | 501 => Self::Unimplemented,
            408 | 504 => Self::DeadlineExceeded,
            409 | 410 => Self::Aborted,
            413 | 429 => Self::ResourceExhausted,
            499 => Self::Cancelled,
            500 => Self::Internal,
            502 | 503 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }

    /// What clients of gRPC take a bare HTTP status for: one of something that speaks no gRPC
    /// (grpc's doc/http-grpc-status-mapping.md).
    #[must_use]
    pub const fn of_bare_http(status: u16) -> Self {
        match status {
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502..=504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }
}

/// A text as `grpc-message` carries it: percent-encoded, and cut where it is very long.
#[must_use]
pub fn encode_message(text: &str) -> String {
    let cut = text.char_indices().nth(MESSAGE_LENGTH).map_or(text, |(end, _)| &text[..end]);
    utf8_percent_encode(cut, MESSAGE).to_string()
}

/// The text of a `grpc-message`.
#[must_use]
pub fn decode_message(value: &[u8]) -> Cow<'_, str> {
    percent_decode(value).decode_utf8_lossy()
}

/// A time limit as `grpc-timeout` says it: up to eight digits and a unit. `None` for anything else.
#[must_use]
pub fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// A time limit of `millis` milliseconds as `grpc-timeout` says it; one of more than a day is cut.
#[must_use]
pub fn format_timeout(millis: u64) -> String {
    format!("{}m", millis.min(99_999_999))
}

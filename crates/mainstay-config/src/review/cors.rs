//! Pages of other sites: origins that browsers send, and lists that a header can carry.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};

use super::Review;
use crate::code::Code;
use crate::config::{Cors, Origins};
use crate::raw::{Opt, RawCors};
use crate::reader::shorten;
use crate::spanned::Spanned;

/// What pages may do where it is not said: ask, by key or token.
const METHODS: [&str; 2] = ["GET", "POST"];
const HEADERS: [&str; 3] = ["content-type", "authorization", "x-api-key"];
const EXPOSE: [&str; 2] = ["x-mainstay-request-id", "retry-after"];
/// Browsers remember no longer than two hours, whatever they are told.
const MAX_AGE: Duration = Duration::from_secs(600);

/// Which pages of other sites may ask; `None` where none may.
pub(super) fn cors(review: &mut Review, raw: &Opt<RawCors>) -> Option<Cors> {
    let raw = raw.as_ref()?;
    let written = raw.origins.as_ref().map_or(&[][..], |origins| &origins.value);
    if written.is_empty() && !raw.damaged {
        let help = "write for example origins: [https://app.example]";
        review.fault(Code::Missing, raw.span, "no page may ask: there are no origins", help);
    }
    let any = written.iter().find(|origin| origin.value == "*");
    let credentials = raw.credentials.as_ref().is_some_and(|it| it.value);
    if let Some(any) = any.filter(|_| credentials) {
        let message = "any page could ask with the cookies of whoever looks at it";
        let help = "name the origins, or leave `credentials` out";
        review.fault(Code::Contradiction, any.span, message, help);
    }
    let origins = written.iter().filter_map(|origin| self::origin(review, origin)).collect();
    let method = |name: &str| name.parse::<Method>().is_ok();
    let header = |name: &str| name.parse::<HeaderName>().is_ok();
    Some(Cors {
        origins: if any.is_some() { Origins::Any } else { Origins::These(origins) },
        methods: list(review, (&raw.methods, &METHODS), method),
        headers: list(review, (&raw.headers, &HEADERS), header),
        expose: list(review, (&raw.expose, &EXPOSE), header),
        credentials,
        max_age: review.time(&raw.max_age, MAX_AGE),
    })
}

/// An origin as browsers send it.
fn origin(review: &mut Review, written: &Spanned<String>) -> Option<HeaderValue> {
    if written.value == "*" {
        return None;
    }
    let host = written.value.split_once("://").filter(|(scheme, host)| {
        matches!(*scheme, "http" | "https") && !host.is_empty() && !host.contains(['/', '*', '@'])
    });
    let value = host.and_then(|_| HeaderValue::try_from(written.value.to_lowercase()).ok());
    if value.is_none() {
        let message = format!("{:?} is no origin of a page", shorten(written));
        let help = "write scheme and host alone, for example https://app.example";
        review.fault(Code::BadValue, written.span, message, help);
    }
    value
}

/// Names as one header carries them.
fn list<const N: usize>(
    review: &mut Review,
    (written, default): (&Opt<Vec<Spanned<String>>>, &[&str; N]),
    is_name: impl Fn(&str) -> bool,
) -> HeaderValue {
    let mut names = Vec::new();
    match written {
        None => names.extend_from_slice(default),
        Some(list) => {
            for name in &list.value {
                if is_name(name) {
                    names.push(&name.value);
                } else {
                    let message = format!("{:?} cannot stand in this list", shorten(name));
                    review.fault(Code::BadValue, name.span, message, "write names alone");
                }
            }
        }
    }
    // Names of methods and headers are always a valid value.
    HeaderValue::try_from(names.join(", ")).unwrap_or_else(|_| HeaderValue::from_static(""))
}

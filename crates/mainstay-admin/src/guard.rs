//! Who may ask what.
//!
//! A browser on the operator's machine reaches loopback, and its pages come from anywhere. Two
//! ways in are closed for every request: a foreign name that was made to resolve to us (DNS
//! rebinding) shows in Host, and a foreign page that posts shows in Origin. Beyond that every
//! method that could change something needs the token, whatever the path: a verb that is added
//! later is guarded before it exists.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderName, Method, StatusCode};

use crate::code::Code;
use crate::refusal::Refusal;
use crate::token::Token;

/// Where servers may speak with a token of their own.
const HEARTBEATS: &str = "/v1/heartbeats/";

/// Who is known.
#[derive(Debug)]
pub(crate) struct Tokens {
    /// Opens everything.
    pub(crate) operators: Token,
    /// Opens heartbeats alone.
    pub(crate) heartbeats: Option<Token>,
}

/// Who the listener is.
#[derive(Debug, Default)]
pub(crate) struct Own {
    /// Names that it is known by, beside IP addresses and `localhost`.
    pub(crate) hosts: Vec<String>,
    /// Whether it speaks TLS.
    pub(crate) secure: bool,
}

/// Lets a request pass, or says why not.
pub(crate) fn check(request: &Parts, tokens: &Tokens, own: &Own) -> Result<(), Refusal> {
    let host = check_host(request, &own.hosts)?;
    if matches!(request.method, Method::GET | Method::HEAD) {
        return Ok(());
    }
    check_origin(request, host.as_ref(), own.secure)?;
    check_token(request, tokens)
}

/// A request without any host (HTTP/1.0, as simple health checks send it) comes from no browser.
fn check_host(request: &Parts, hosts: &[String]) -> Result<Option<Authority>, Refusal> {
    let refused = || {
        let message = "the Host of this request is neither an address nor localhost nor this \
                       gateway's own name; ask by address";
        Refusal::new(StatusCode::MISDIRECTED_REQUEST, Code::ForeignHost, message)
    };
    let named = request.uri.authority().cloned();
    let header = header(request, &HOST).map_err(|()| refused())?;
    let header = header.map(|host| host.parse::<Authority>().map_err(|_| refused()));
    let header = header.transpose()?;
    let asked: Vec<_> = [&named, &header].into_iter().flatten().collect();
    let own = asked.iter().all(|authority| is_own(authority.host(), hosts));
    if own { Ok(header.or(named)) } else { Err(refused()) }
}

fn is_own(host: &str, hosts: &[String]) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_address = match address {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => host.parse::<IpAddr>().is_ok(),
    };
    is_address
        || host.eq_ignore_ascii_case("localhost")
        || hosts.iter().any(|own| own.eq_ignore_ascii_case(host))
}

/// Programs send no Origin; a page sends its own, and only ours may post here.
fn check_origin(request: &Parts, host: Option<&Authority>, secure: bool) -> Result<(), Refusal> {
    let refused = || {
        let message = "this request comes from a page of another site";
        Refusal::new(StatusCode::FORBIDDEN, Code::ForeignOrigin, message)
    };
    let Some(origin) = header(request, &ORIGIN).map_err(|()| refused())? else { return Ok(()) };
    let scheme = if secure { "https" } else { "http" };
    let own = host.map(|host| format!("{scheme}://{host}"));
    if own.is_some_and(|own| own.eq_ignore_ascii_case(origin)) { Ok(()) } else { Err(refused()) }
}

fn check_token(request: &Parts, tokens: &Tokens) -> Result<(), Refusal> {
    let given = header(request, &AUTHORIZATION).ok().flatten().and_then(bearer);
    let is_beat = request.uri.path().starts_with(HEARTBEATS);
    let servers = tokens.heartbeats.as_ref().filter(|_| is_beat);
    let known = [Some(&tokens.operators), servers];
    let fits = |given: &str| known.into_iter().flatten().any(|token| token.is(given.as_bytes()));
    if given.is_some_and(fits) {
        return Ok(());
    }
    let message = "this verb needs the operators' token: Authorization: Bearer TOKEN; the token \
                   is in the gateway's token file";
    Err(Refusal::new(StatusCode::UNAUTHORIZED, Code::Unauthorized, message))
}

/// The credentials of the scheme `Bearer`, whose name knows no case (RFC 9110, 11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, credentials) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| credentials.trim_start_matches(' '))
}

/// The one value of a header; `Err` if there are several, or bytes that are no text.
fn header<'a>(request: &'a Parts, name: &HeaderName) -> Result<Option<&'a str>, ()> {
    let mut values = request.headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    }
}

#[cfg(test)]
mod tests;

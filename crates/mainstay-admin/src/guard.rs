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
    /// Opens what is only read. Where there is one, or the operators', it is needed for that.
    pub(crate) viewers: Option<Token>,
    /// Opens heartbeats alone.
    pub(crate) heartbeats: Option<Token>,
}

/// Who asks, by its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// May do everything.
    Operator,
    /// May read everything.
    Viewer,
    /// May tell that it lives.
    Server,
}

impl Role {
    /// As the audit trail says it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Viewer => "viewer",
            Self::Server => "server",
        }
    }
}

/// What anybody may read: whether the gateway lives, and whether it is ready.
const OPEN: [&str; 3] = ["/livez", "/readyz", "/healthz/deep"];

/// Who the listener is.
#[derive(Debug, Default)]
pub(crate) struct Own {
    /// Names that it is known by, beside IP addresses and `localhost`.
    pub(crate) hosts: Vec<String>,
    /// Whether it speaks TLS.
    pub(crate) secure: bool,
}

/// Lets a request pass that comes by the token of this role, or says why not.
pub(crate) fn check(
    request: &Parts,
    role: Option<Role>,
    (tokens, own): (&Tokens, &Own),
) -> Result<(), Refusal> {
    let host = check_host(request, &own.hosts)?;
    if matches!(request.method, Method::GET | Method::HEAD) {
        let reads = tokens.viewers.is_none()
            || OPEN.contains(&request.uri.path())
            || matches!(role, Some(Role::Operator | Role::Viewer));
        return if reads { Ok(()) } else { Err(unauthorized("what is shown here", "a")) };
    }
    check_origin(request, host.as_ref(), own.secure)?;
    match role {
        Some(Role::Operator) => Ok(()),
        Some(Role::Server) if request.uri.path().starts_with(HEARTBEATS) => Ok(()),
        Some(Role::Viewer) => {
            let message = "viewers may read; this verb needs the operators' token";
            Err(Refusal::new(StatusCode::FORBIDDEN, Code::Forbidden, message))
        }
        Some(Role::Server) | None => Err(unauthorized("this verb", "the operators'")),
    }
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

/// By which token the request comes; every one is compared, each in constant time.
pub(crate) fn role(request: &Parts, tokens: &Tokens) -> Option<Role> {
    let given = header(request, &AUTHORIZATION).ok().flatten().and_then(bearer)?;
    let known = [
        (Some(&tokens.operators), Role::Operator),
        (tokens.viewers.as_ref(), Role::Viewer),
        (tokens.heartbeats.as_ref(), Role::Server),
    ];
    let fits =
        known.map(|(token, role)| token.filter(|token| token.is(given.as_bytes())).map(|_| role));
    fits.into_iter().flatten().next()
}

fn unauthorized(what: &str, whose: &str) -> Refusal {
    let message = format!(
        "{what} needs {whose} token: Authorization: Bearer TOKEN; the operators' is in the \
         gateway's token file"
    );
    Refusal::new(StatusCode::UNAUTHORIZED, Code::Unauthorized, message)
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

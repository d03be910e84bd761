//! URLs, host:port pairs and listening addresses.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http::uri::Authority;

use super::Refusal;
use crate::code::Code;
use crate::config::EndpointUrl;
use crate::reader::shorten;

/// A URL in its parts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) address: EndpointUrl,
    /// Path and query as written; empty or beginning with a slash.
    pub(super) path: String,
}

/// `http://host:port/path?query` in its parts.
pub(super) fn url(text: &str) -> Result<Url, Refusal> {
    let (secure, rest) = without_scheme(text)?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (host, port) = host_port(authority, text)?;
    let path = match path {
        "" => String::new(),
        path if path.starts_with('/') && !path.contains('#') && is_visible(path) => path.to_owned(),
        _ => return Err(bad_url(text, "the path must begin with / and hold no spaces or #")),
    };
    let port = port.unwrap_or(if secure { 443 } else { 80 });
    let tls = secure.then(Arc::default);
    let address = EndpointUrl { host: host.into(), port, prefix: "".into(), tls };
    Ok(Url { address, path })
}

/// A URL whose path, if any, is put before every request's.
pub(crate) fn endpoint(text: &str) -> Result<EndpointUrl, Refusal> {
    let Url { mut address, path } = url(text)?;
    if path.contains('?') {
        return Err(bad_url(text, "an endpoint's URL has no query; drop what follows the ?"));
    }
    address.prefix = path.trim_end_matches('/').into();
    Ok(address)
}

/// `tcp://host:port` or `host:port`.
pub(super) fn tcp_endpoint(text: &str) -> Result<EndpointUrl, Refusal> {
    let rest = text.strip_prefix("tcp://").unwrap_or(text);
    host_and_port(rest).map_err(|(code, message, help)| match code {
        Code::Secret => (code, message, "take them out of the address".to_owned()),
        _ => (code, message, format!("{help}; servers of TCP pools have no path")),
    })
}

/// Whether TLS is asked for, and what follows.
fn without_scheme(text: &str) -> Result<(bool, &str), Refusal> {
    match text.split_once("://") {
        Some(("http", rest)) => Ok((false, rest)),
        Some(("https", rest)) => Ok((true, rest)),
        Some(_) => Err(bad_url(text, "only http:// and https:// are understood here")),
        None => Err(bad_url(text, "begin it with http://, for example http://10.0.0.1:8000")),
    }
}

/// A URL that cannot be; passwords in it are not repeated.
fn bad_url(text: &str, help: &str) -> Refusal {
    let shown = if text.contains('@') { "this".to_owned() } else { format!("{:?}", shorten(text)) };
    (Code::BadValue, format!("{shown} is not a usable URL"), help.to_owned())
}

/// `host:port` of an authority, without the brackets of an IPv6 address.
fn host_port(authority: &str, whole: &str) -> Result<(String, Option<u16>), Refusal> {
    if authority.contains('@') {
        return Err((
            Code::Secret,
            "a URL must not hold a user or a password".to_owned(),
            "take them out; a secret header comes from {file: PATH} or {env: NAME}".to_owned(),
        ));
    }
    let help = "write a host and a port, for example http://10.0.0.1:8000 or http://[::1]:8000";
    let parsed: Authority = authority.parse().map_err(|_| bad_url(whole, help))?;
    let host = parsed.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = match parsed.port() {
        None if authority != parsed.host() => {
            return Err(bad_url(whole, "a port is a number from 1 to 65535"));
        }
        None => None,
        Some(port) => Some(
            parse_port(port.as_str())
                .ok_or_else(|| bad_url(whole, "a port is a number from 1 to 65535"))?,
        ),
    };
    if host.is_empty() { Err(bad_url(whole, help)) } else { Ok((host, port)) }
}

fn parse_port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port > 0)
}

fn is_visible(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_graphic())
}

/// `host:port`, both needed.
pub(super) fn host_and_port(text: &str) -> Result<EndpointUrl, Refusal> {
    let refusal = || {
        let message = format!("{:?} is not a host and a port", shorten(text));
        let help = "write for example 10.0.2.1:6379 or \"[::1]:6379\"";
        (Code::BadValue, message, help.to_owned())
    };
    match host_port(text, text) {
        Ok((host, Some(port))) => {
            Ok(EndpointUrl { host: host.into(), port, prefix: "".into(), tls: None })
        }
        Err(refusal @ (Code::Secret, ..)) => Err(refusal),
        Ok((_, None)) | Err(_) => Err(refusal()),
    }
}

/// An address to listen on.
pub(super) fn listening(text: &str) -> Result<SocketAddr, Refusal> {
    let local = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    let any = text.strip_prefix(':').map(|port| format!("{}:{port}", Ipv4Addr::UNSPECIFIED));
    let address = local.or(any);
    address.as_deref().unwrap_or(text).parse().map_err(|_| {
        let message = format!("{:?} is not an address to listen on", shorten(text));
        let help = "write an IP address and a port, for example 0.0.0.0:8080 or \"[::]:8080\"";
        (Code::BadValue, message, help.to_owned())
    })
}

/// Whether two listeners would meet.
pub(super) fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let same_ip =
        one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    same_ip && one.port() == other.port() && one.port() != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_come_apart() {
        let shown = |text: &str| endpoint(text).unwrap().to_string();
        assert_eq!(shown("http://10.0.0.1:8000"), "http://10.0.0.1:8000");
        assert_eq!(shown("http://models.example/base/"), "http://models.example:80/base");
        assert_eq!(shown("http://[::1]:8000"), "http://[::1]:8000");
        assert_eq!(url("http://a:1/x?y=z").unwrap().path, "/x?y=z");
        assert_eq!(shown("https://models.example/base"), "https://models.example:443/base");
    }

    #[test]
    fn what_is_no_url_is_refused() {
        let code = |text: &str| endpoint(text).unwrap_err().0;
        assert_eq!(code("http://me:pass@a:1"), Code::Secret);
        for text in [
            "",
            "10.0.0.1:8000",
            "http://",
            "http://:80",
            "http://a:0",
            "http://a:99999",
            "http://a:",
            "grpc://a:1",
            "http://a b:1",
            "http://a:1/x y",
            "http://a:1?x",
            "http://a:1/x#y",
        ] {
            assert_eq!(code(text), Code::BadValue, "{text}");
        }
    }

    #[test]
    fn listeners_meet_on_any_address() {
        let any = listening(":9901").unwrap();
        assert!(collide(any, listening("localhost:9901").unwrap()));
        assert!(!collide(any, listening("127.0.0.1:9902").unwrap()));
        assert!(!collide(listening(":0").unwrap(), listening(":0").unwrap()));
        assert!(listening("nowhere").is_err());
    }
}

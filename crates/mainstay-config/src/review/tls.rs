//! TLS: files that are there and fit together.
//!
//! The files are read here as they will be read when the gateway runs, so that a wrong one is
//! found by `mainstay check` and refuses a reload, instead of refusing every connection.

use std::path::PathBuf;
use std::sync::Arc;

use mainstay_tls::{Listening, Settings};

use super::Review;
use crate::code::Code;
use crate::raw::{Opt, RawClientCertificate, RawListenTls, RawTls};
use crate::source::Span;
use crate::spanned::Spanned;

/// How TLS is spoken with the servers of a pool; `None` where nothing is said of it.
pub(super) fn servers(review: &mut Review, raw: &Opt<RawTls>) -> Option<Arc<Settings>> {
    let raw = raw.as_ref()?;
    if let Some(skip) = raw.insecure_skip_verify.as_ref().filter(|skip| skip.value) {
        let message = "the certificates of servers are always verified";
        let help = "name the file of who issued the server's certificate as `ca`";
        review.fault(Code::Tls, skip.span, message, help);
    }
    let settings = Settings {
        ca: raw.ca.as_ref().map(|ca| review.path(ca)),
        server_name: raw.server_name.as_ref().map(|name| name.value.as_str().into()),
        identity: pair(review, (&raw.certificate, &raw.key), raw.span),
    };
    usable(review, &settings, raw.span);
    Some(Arc::new(settings))
}

/// TLS on a listener; `None` for clear text.
pub(super) fn listener(review: &mut Review, raw: &Opt<RawListenTls>) -> Option<Arc<Listening>> {
    let raw = raw.as_ref()?;
    let found = pair(review, (&raw.certificate, &raw.key), raw.span);
    if found.is_none() && raw.certificate.is_none() && raw.key.is_none() && !raw.damaged {
        let message = "a listener with TLS needs a certificate";
        review.fault(Code::Missing, raw.span, message, "write {certificate: FILE, key: FILE}");
    }
    let asks = raw.client_certificate.as_ref();
    if let (Some(asks), None) = (asks, &raw.client_ca) {
        let message = "clients are asked for certificates that nobody vouches for";
        review.fault(Code::Missing, asks.span, message, "name the authorities as `client-ca`");
    }
    let required = !asks.is_some_and(|it| matches!(it.value, RawClientCertificate::Optional));
    let clients = raw.client_ca.as_ref().map(|ca| (review.path(ca), required));
    let (certificate, key) = found?;
    let settings = Listening { certificate, key, clients };
    if let Err(error) = mainstay_tls::server::check(&settings) {
        refuse(review, raw.span, &error);
    }
    Some(Arc::new(settings))
}

/// A fault where these settings cannot be used.
pub(super) fn usable(review: &mut Review, settings: &Settings, place: Span) {
    if let Err(error) = mainstay_tls::client::check(settings) {
        refuse(review, place, &error);
    }
}

/// The files of a certificate and its key; both or none.
fn pair(
    review: &mut Review,
    (certificate, key): (&Opt<String>, &Opt<String>),
    place: Span,
) -> Option<(PathBuf, PathBuf)> {
    let file = |review: &Review, text: &Spanned<String>| review.path(text);
    match (certificate, key) {
        (Some(certificate), Some(key)) => Some((file(review, certificate), file(review, key))),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            let message = "a certificate needs its key, and a key its certificate";
            let help = "name both: {certificate: FILE, key: FILE}";
            review.fault(Code::Tls, place, message, help);
            None
        }
    }
}

fn refuse(review: &mut Review, place: Span, error: &mainstay_tls::Error) {
    let mut message = error.to_string();
    if let Some(cause) = std::error::Error::source(error) {
        message = format!("{message}: {cause}");
    }
    let help = "name PEM files that the user who runs Mainstay can read; see docs/security.md";
    review.fault(Code::Tls, place, message, help);
}

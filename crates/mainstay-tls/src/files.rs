//! Certificates and keys out of PEM files.

use std::path::Path;
use std::sync::Arc;

use mainstay_protocol::certificate::Certificate;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::Error;

/// The certificates of a file, in its order; at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let fault = |reason: String| Error::File { path: path.into(), what: "certificate", reason };
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let found = found.map_err(|error| fault(error.to_string()))?;
    if found.is_empty() { Err(fault("there is none in it".to_owned())) } else { Ok(found) }
}

/// What the first certificate of a file says of itself, as far as that can be read.
pub(crate) fn first(path: &Path) -> Result<Option<Certificate>, Error> {
    Ok(certificates(path)?.first().and_then(|der| Certificate::read(der)))
}

/// The first private key of a file.
pub(crate) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| Error::File {
        path: path.into(),
        what: "private key",
        reason: error.to_string(),
    })
}

/// The authorities of a file; without one, those of the system.
pub(crate) fn roots(path: Option<&Path>) -> Result<Arc<RootCertStore>, Error> {
    let mut roots = RootCertStore::empty();
    let Some(path) = path else {
        let (added, _) =
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return if added == 0 { Err(Error::NoRoots) } else { Ok(Arc::new(roots)) };
    };
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| Error::Trust { path: path.into(), reason: error.to_string() })?;
    }
    Ok(Arc::new(roots))
}

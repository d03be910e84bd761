//! Our side of connections from clients and operators.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use arc_swap::ArcSwap;
use mainstay_protocol::certificate::Certificate;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::Ticketer;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::server::TlsStream;

use crate::{Error, Failure, HTTP1, HTTP2, files, provider};

/// What a listener shows, and whom it lets in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Listening {
    /// PEM file of the certificate with its chain.
    pub certificate: PathBuf,
    /// PEM file of its key.
    pub key: PathBuf,
    /// PEM file of the authorities that vouch for clients, and whether each client must show a
    /// certificate. Default: clients are asked for none.
    pub clients: Option<(PathBuf, bool)>,
}

/// Makes handshakes with clients.
#[derive(Debug)]
pub struct Server {
    settings: Listening,
    /// `Err` with the reason where the files could not be used and never could.
    loaded: ArcSwap<Result<Loaded, String>>,
}

#[derive(Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    /// What is shown to clients.
    shown: Option<Certificate>,
}

impl Server {
    /// The one server by these files, made when it is first asked for: another configuration with
    /// the same files goes on with what they said last. Where they cannot be used now, every
    /// handshake is refused until [`reload`](Self::reload) finds better ones.
    #[must_use]
    pub fn shared(settings: &Listening) -> Arc<Self> {
        static KNOWN: LazyLock<Mutex<HashMap<Listening, Weak<Server>>>> =
            LazyLock::new(Mutex::default);
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = known.get(settings).and_then(Weak::upgrade) {
            return server;
        }
        known.retain(|_, server| server.strong_count() > 0);
        let loaded = load(settings).map_err(|error| error.to_string());
        let server =
            Arc::new(Self { settings: settings.clone(), loaded: ArcSwap::from_pointee(loaded) });
        known.insert(settings.clone(), Arc::downgrade(&server));
        server
    }

    /// Reads the files again; what was in use stays, where they cannot be used. Connections that
    /// are open go on as they began.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn reload(&self) -> Result<(), Error> {
        self.loaded.store(Arc::new(Ok(load(&self.settings)?)));
        Ok(())
    }

    /// What is shown to clients.
    #[must_use]
    pub fn shown(&self) -> Option<Certificate> {
        self.loaded.load().as_ref().as_ref().ok()?.shown.clone()
    }

    /// Whether its files could never be used so far.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.loaded.load().is_err()
    }

    /// The settings that it was made by.
    #[must_use]
    pub const fn settings(&self) -> &Listening {
        &self.settings
    }

    /// Makes a handshake. Takes as long as the client does: the caller bounds it.
    ///
    /// # Errors
    /// There is no agreement, or no trust.
    pub async fn accept(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, Failure> {
        let loaded = self.loaded.load_full();
        let config = loaded.as_ref().as_ref().map_err(|why| Failure::Settings(why.clone()))?;
        let acceptor = TlsAcceptor::from(Arc::clone(&config.config));
        acceptor.accept(stream).await.map_err(|error| Failure::of(&error))
    }
}

/// Whether these settings can be used now.
///
/// # Errors
/// A file is missing, unreadable or of another kind.
pub fn check(settings: &Listening) -> Result<(), Error> {
    load(settings).map(drop)
}

/// The certificate that a client has shown, and that was verified.
#[must_use]
pub fn shown<S>(stream: &TlsStream<S>) -> Option<&CertificateDer<'static>> {
    stream.get_ref().1.peer_certificates()?.first()
}

/// Whether both sides agreed on HTTP/2; `None` where nothing was said.
#[must_use]
pub fn agreed<S>(stream: &TlsStream<S>) -> Option<bool> {
    stream.get_ref().1.alpn_protocol().map(|protocol| protocol == HTTP2)
}

fn load(settings: &Listening) -> Result<Loaded, Error> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(Error::Pair)?;
    let builder = match &settings.clients {
        None => builder.with_no_client_auth(),
        Some((ca, required)) => {
            let roots = files::roots(Some(ca))?;
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
            let verifier = if *required { verifier } else { verifier.allow_unauthenticated() };
            let verifier = verifier
                .build()
                .map_err(|error| Error::Trust { path: ca.clone(), reason: error.to_string() })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = files::certificates(&settings.certificate)?;
    let mut config =
        builder.with_single_cert(chain, files::key(&settings.key)?).map_err(Error::Pair)?;
    config.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
    // New keys with new files: who resumes a session is not verified again.
    config.ticketer = Ticketer::new().map_err(Error::Pair)?;
    let shown = files::first(&settings.certificate)?;
    Ok(Loaded { config: Arc::new(config), shown })
}

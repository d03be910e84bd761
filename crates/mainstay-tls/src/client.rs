//! Our side of connections to servers.
//!
//! Everybody who reaches a server by the same settings (requests, probes, heartbeats of ours)
//! shares one [`Client`], and with it the sessions to resume: a second handshake with a server
//! costs neither of us a signature. Certificates are always verified; there is no way around it,
//! because a server with a certificate of its own is trusted by naming that certificate's issuer.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use arc_swap::ArcSwap;
use mainstay_protocol::certificate::Certificate;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::{Error, Failure, HTTP1, HTTP2, files, provider};

/// Sessions kept for resumption, by server; one pool holds at most as many servers.
const SESSIONS: usize = 1024;

/// Clients kept that nobody holds.
const KEPT: usize = 64;

/// Whom to trust as a server, and what to show to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Settings {
    /// PEM file of the authorities that may vouch for it. Default: those of the system.
    pub ca: Option<PathBuf>,
    /// The name that its certificate must have. Default: the host of its URL.
    pub server_name: Option<Arc<str>>,
    /// PEM files of our own certificate with its chain, and its key. Default: none is shown.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// What a connection is to speak, in the negotiation of protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speak {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Makes handshakes with servers.
#[derive(Debug)]
pub struct Client {
    settings: Settings,
    /// `Err` with the reason where the files could not be used and never could.
    loaded: ArcSwap<Result<Loaded, String>>,
}

#[derive(Debug)]
struct Loaded {
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    /// What is shown to servers.
    shown: Option<Certificate>,
}

impl Client {
    /// The one client for these settings, made when it is first asked for. Where the files
    /// cannot be used now, every handshake says so until [`reload`](Self::reload) finds better
    /// ones.
    #[must_use]
    pub fn shared(settings: &Settings) -> Arc<Self> {
        static KNOWN: LazyLock<Mutex<HashMap<Settings, Arc<Client>>>> =
            LazyLock::new(Mutex::default);
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = known.get(settings) {
            return Arc::clone(client);
        }
        // Kept where nobody holds it, for the next check of a dependency; old ones make room.
        if known.len() >= KEPT {
            known.retain(|_, client| Arc::strong_count(client) > 1);
        }
        let loaded = load(settings).map_err(|error| error.to_string());
        let client =
            Arc::new(Self { settings: settings.clone(), loaded: ArcSwap::from_pointee(loaded) });
        known.insert(settings.clone(), Arc::clone(&client));
        client
    }

    /// A client that shares nothing, sessions least of all.
    ///
    /// # Errors
    /// The files cannot be used.
    pub fn unshared(settings: &Settings) -> Result<Self, Error> {
        let loaded = ArcSwap::from_pointee(Ok(load(settings)?));
        Ok(Self { settings: settings.clone(), loaded })
    }

    /// Reads the files again; what was in use stays, where they cannot be used.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn reload(&self) -> Result<(), Error> {
        self.loaded.store(Arc::new(Ok(load(&self.settings)?)));
        Ok(())
    }

    /// What is shown to servers, if anything is.
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
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Makes a handshake over an open connection to `host`. Takes as long as the server does:
    /// the caller bounds it.
    ///
    /// # Errors
    /// There is no agreement, or no trust.
    pub async fn connect(
        &self,
        stream: TcpStream,
        host: &str,
        speak: Speak,
    ) -> Result<TlsStream<TcpStream>, Failure> {
        let loaded = self.loaded.load_full();
        let loaded = loaded.as_ref().as_ref().map_err(|why| Failure::Settings(why.clone()))?;
        let config = match speak {
            Speak::Http1 => &loaded.http1,
            Speak::Http2 => &loaded.http2,
        };
        let name = self.settings.server_name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name)
            .map_err(|_| Failure::Settings(format!("{host:?} is no name for a certificate")))?;
        let connecting = TlsConnector::from(Arc::clone(config)).connect(name, stream);
        let stream = connecting.await.map_err(|error| Failure::of(&error))?;
        let agreed = stream.get_ref().1.alpn_protocol();
        if speak == Speak::Http2 && agreed != Some(HTTP2) {
            return Err(Failure::Handshake("the server does not offer HTTP/2".to_owned()));
        }
        Ok(stream)
    }
}

/// Whether these settings can be used now.
///
/// # Errors
/// A file is missing, unreadable or of another kind.
pub fn check(settings: &Settings) -> Result<(), Error> {
    if let Some(name) = settings.server_name.as_deref().filter(|name| !is_name(name)) {
        return Err(Error::Name(name.to_owned()));
    }
    load(settings).map(drop)
}

/// Whether a certificate can have this name.
#[must_use]
pub fn is_name(name: &str) -> bool {
    ServerName::try_from(name).is_ok()
}

fn load(settings: &Settings) -> Result<Loaded, Error> {
    let roots = files::roots(settings.ca.as_deref())?;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(Error::Pair)?
        .with_root_certificates(roots);
    let mut config = match &settings.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(files::certificates(certificate)?, files::key(key)?)
            .map_err(Error::Pair)?,
    };
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    config.alpn_protocols = vec![HTTP1.to_vec()];
    let mut http2 = config.clone();
    http2.alpn_protocols = vec![HTTP2.to_vec()];
    // Sessions of one protocol must not be offered for the other.
    http2.resumption = Resumption::in_memory_sessions(SESSIONS);
    let shown = settings.identity.as_ref().map(|(own, _)| files::first(own)).transpose()?;
    Ok(Loaded { http1: Arc::new(config), http2: Arc::new(http2), shown: shown.flatten() })
}

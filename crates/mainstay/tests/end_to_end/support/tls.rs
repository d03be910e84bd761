//! Certificates of an authority of the test's own, a front that puts TLS before a plain server,
//! and a client within TLS.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mainstay_tls::client::{Client, Speak};
use mainstay_tls::{Listening, Server, Settings, Stream};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::LIMIT;
use super::http::Request;

/// Who vouches for the test's certificates.
pub(crate) struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as files.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Pair {
    pub(crate) fn json(&self) -> Value {
        json!({"certificate": self.certificate, "key": self.key})
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "the test's authority");
        let key = KeyPair::generate().expect("a key");
        let own = params.self_signed(&key).expect("a certificate");
        std::fs::write(folder.path().join("ca.pem"), own.pem()).expect("it can be written");
        Self { folder, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for localhost and 127.0.0.1, valid for a long time.
    pub(crate) fn issue(&self, name: &str) -> Pair {
        self.issue_until(name, 2099)
    }

    pub(crate) fn issue_until(&self, name: &str, year: i32) -> Pair {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("it is signed");
        let pair = Pair {
            certificate: self.folder.path().join(format!("{name}.pem")),
            key: self.folder.path().join(format!("{name}-key.pem")),
        };
        put(&pair.certificate, &certificate.pem());
        put(&pair.key, &key.serialize_pem());
        pair
    }

    /// What a client needs to trust it, showing `identity`.
    pub(crate) fn settings(&self, identity: Option<&Pair>) -> Settings {
        let identity = identity.map(|pair| (pair.certificate.clone(), pair.key.clone()));
        Settings { ca: Some(self.file()), server_name: None, identity }
    }
}

/// Puts a file in its place at once.
fn put(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("it can be written");
    std::fs::rename(&new, path).expect("it can be put in place");
}

/// A listener with TLS before a plain server.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    /// Handshakes that came to their end.
    pub(crate) shaken: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Front {
    /// With `clients`, it asks for certificates of this authority.
    pub(crate) async fn start(server: SocketAddr, own: &Pair, clients: Option<PathBuf>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let settings = Listening {
            certificate: own.certificate.clone(),
            key: own.key.clone(),
            clients: clients.map(|ca| (ca, true)),
        };
        let tls = Server::shared(&settings);
        let shaken = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&shaken);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("it listens");
                let (tls, counted) = (Arc::clone(&tls), Arc::clone(&counted));
                tokio::spawn(async move {
                    let Ok(mut near) = tls.accept(stream).await else { return };
                    counted.fetch_add(1, Ordering::Relaxed);
                    let Ok(mut far) = TcpStream::connect(server).await else { return };
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        Self { address, shaken, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A connection within TLS; says why there is none.
pub(crate) async fn connect(address: SocketAddr, by: &Settings) -> Result<Stream, String> {
    let host = address.ip().to_string();
    let opened = Stream::open((&host, address.port()), Some(by), Speak::Http1);
    timeout(LIMIT, opened).await.expect("in time").map_err(|error| error.to_string())
}

/// One request on a connection of its own: the status and all that came.
pub(crate) async fn ask_secure(
    address: SocketAddr,
    by: &Settings,
    request: &Request,
) -> Result<(u16, String), String> {
    let mut stream = connect(address, by).await?;
    let mut text = format!("{} {} HTTP/1.1\r\nhost: {address}\r\n", request.method, request.path);
    for (name, value) in &request.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("connection: close\r\ncontent-length: {}\r\n\r\n", request.body.len()));
    let told = async {
        stream.write_all(text.as_bytes()).await?;
        stream.write_all(&request.body).await?;
        stream.flush().await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = timeout(LIMIT, told).await.expect("in time").map_err(|error| error.to_string())?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or_else(|| format!("no answer: {answer:?}"))?, answer))
}

/// The name on the certificate that a listener shows now.
pub(crate) async fn shown_by(address: SocketAddr, by: &Settings) -> String {
    // A client of its own: a resumed session shows what was seen before.
    let client = Client::unshared(by).expect("the files are there");
    let socket = TcpStream::connect(address).await.expect("it listens");
    let stream = client.connect(socket, &address.ip().to_string(), Speak::Http1).await;
    let stream = stream.expect("a handshake");
    let shown = stream.get_ref().1.peer_certificates().expect("a certificate").to_vec();
    let read = mainstay_protocol::certificate::Certificate::read(&shown[0]);
    read.expect("it can be read").subject
}

//! A listener on a free port, and a client that says exactly what it is told to.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use mainstay_admin::{Admin, Code};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::fake::Fake;

pub(crate) struct Listener {
    pub(crate) source: Arc<Fake>,
    pub(crate) address: SocketAddr,
    pub(crate) token_path: PathBuf,
    _folder: TempDir,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: hyper::HeaderMap,
    pub(crate) body: String,
}

impl Listener {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let token_path = folder.path().join("admin-token");
        let source = Arc::new(Fake::new());
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let admin = Admin::bind(any, &token_path, source.clone()).await.unwrap();
        let address = admin.local_addr();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(admin.run(async { drop(stopped.await) }));
        Self { source, address, token_path, _folder: folder, running: Some((stop, task)) }
    }

    /// Shuts the listener down and waits for its end.
    pub(crate) async fn stop(&mut self) {
        let (stop, task) = self.running.take().unwrap();
        stop.send(()).unwrap();
        task.await.unwrap();
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    /// Posts as an operator.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        let token = self.bearer();
        self.send("POST", path, &[("authorization", &token)], &body.to_string()).await
    }

    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", std::fs::read_to_string(&self.token_path).unwrap().trim())
    }

    /// One request on a connection of its own; Host is the address unless it is given.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path);
        if headers.iter().all(|(name, _)| *name != "host") {
            request = request.header("host", self.address.to_string());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The status and the code of an answer that refuses; its body has the refusals' shape.
    pub(crate) fn refusal(&self) -> (u16, Code) {
        let body = self.json();
        assert!(StatusCode::from_u16(self.status).unwrap().is_client_error(), "{body}");
        assert!(!body["error"].as_str().unwrap().is_empty());
        let code = body["code"].as_str().unwrap();
        let code = Code::ALL.into_iter().find(|known| known.as_str() == code).unwrap();
        (self.status, code)
    }
}

//! The server over real HTTP: every path of the protocol, and every way to be refused.
//!
//! The models are the demo's: `x`, FP32 `[-1, 64]`, to `label`, INT64 `[-1]`, and
//! `probabilities`, FP32 `[-1, 10]`.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use mainstay_model_server::{Options, Server};
use mainstay_protocol::classify::{self, Flavour};
use mainstay_protocol::oip::infer::{self, RequestedOutput};
use mainstay_protocol::oip::{JSON_LENGTH_HEADER, answer, error, metadata, repository};
use mainstay_protocol::{Data, Datatype, Tensor};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// The file of a demo model.
fn demo(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../mainstay/demo"))
        .join(format!("digits-{name}.onnx"))
}

/// A server that runs, and a connection to it.
struct Peer {
    address: SocketAddr,
    client: SendRequest<Full<Bytes>>,
    /// Dropping it shuts the server down.
    stop: Option<oneshot::Sender<()>>,
    server: tokio::task::JoinHandle<()>,
}

/// What a server answered.
struct Said {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    fn error(&self) -> String {
        error::message(&self.body).unwrap_or_default()
    }

    fn json_len(&self) -> Option<usize> {
        self.headers.get(JSON_LENGTH_HEADER)?.to_str().ok()?.parse().ok()
    }
}

impl Peer {
    async fn start(options: Options) -> Self {
        let server = Server::bind(options).unwrap();
        let address = server.local_addr();
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(server.run(async { drop(stopped.await) }));
        Self { address, client: connect(address).await, stop: Some(stop), server }
    }

    /// With the demo's logistic regression as `digits`.
    async fn digits() -> Self {
        let models = vec![("digits".to_owned(), demo("logistic"))];
        Self::start(Options { models, ..Options::default() }).await
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Said {
        let (head, body) = self.client.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Said { status: head.status, headers: head.headers, body }
    }

    async fn get(&mut self, path: &str) -> Said {
        self.send(request(Method::GET, path, "")).await
    }

    async fn post(&mut self, path: &str, body: impl Into<Bytes>) -> Said {
        self.send(request(Method::POST, path, body)).await
    }
}

async fn connect(address: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (client, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    client
}

fn request(method: Method, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(path).header("host", "test");
    request.body(Full::new(body.into())).unwrap()
}

/// Two rows, the first all zero.
fn rows() -> Tensor {
    let pixels = (0..128_u8).map(|index| f32::from(index / 64 * (index % 16)));
    Tensor { name: "x".into(), shape: vec![2, 64], data: Data::Fp32(pixels.collect()) }
}

fn infer_request(binary_input: bool, outputs: Vec<RequestedOutput>) -> infer::Request {
    let id = Some("42".to_owned());
    infer::Request { id, inputs: vec![rows()], outputs, binary_input, ..Default::default() }
}

#[tokio::test]
async fn health_and_metadata_are_the_protocols() {
    let mut peer = Peer::digits().await;
    for (path, body) in [
        ("/v2/health/live", json!({"live": true})),
        ("/v2/health/ready", json!({"ready": true})),
        ("/v2/models/digits/ready", json!({"name": "digits", "ready": true})),
        ("/v2/models/digits/versions/1/ready", json!({"name": "digits", "ready": true})),
    ] {
        let said = peer.get(path).await;
        assert_eq!((said.status, said.json()), (StatusCode::OK, body), "{path}");
    }
    let server = metadata::parse_server(&peer.get("/v2").await.body).unwrap();
    assert_eq!(server.name, "mainstay");
    assert!(server.extensions.contains(&"binary_tensor_data".to_owned()));
    for path in ["/v2/models/digits", "/v2/models/digits/versions/1"] {
        let model = metadata::parse_model(&peer.get(path).await.body).unwrap();
        assert_eq!((model.name.as_str(), model.versions.as_slice()), ("digits", &["1".into()][..]));
        assert_eq!(model.inputs[0].datatype, Datatype::Fp32);
        assert_eq!(model.inputs[0].shape, [None, Some(64)]);
        assert_eq!(model.outputs.len(), 2);
    }
}

#[tokio::test]
async fn json_and_binary_tensors_give_the_same_answer() {
    let mut peer = Peer::digits().await;
    let text = infer::render(&infer_request(false, vec![]));
    let said = peer.post("/v2/models/digits/infer", text.body).await;
    assert_eq!(said.status, StatusCode::OK, "{}", said.error());
    assert_eq!(said.headers[CONTENT_TYPE], "application/json");
    let from_json = answer::parse(&said.body, None).unwrap();
    assert_eq!(from_json.id.as_deref(), Some("42"));
    assert_eq!(
        (from_json.model_name.as_str(), from_json.model_version.as_deref()),
        ("digits", Some("1"))
    );
    assert_eq!(from_json.output("label").unwrap().shape, [2]);
    assert_eq!(from_json.output("probabilities").unwrap().shape, [2, 10]);

    let binary = infer::Request { binary_output: true, ..infer_request(true, vec![]) };
    let binary = infer::render(&binary);
    let mut request = request(Method::POST, "/v2/models/digits/versions/1/infer", binary.body);
    let json_len = binary.json_len.unwrap();
    request.headers_mut().insert(JSON_LENGTH_HEADER, json_len.into());
    let said = peer.send(request).await;
    assert_eq!(said.headers[CONTENT_TYPE], "application/octet-stream");
    assert!(said.json_len().is_some());
    let from_binary = answer::parse(&said.body, said.json_len()).unwrap();
    assert_eq!(from_binary.outputs, from_json.outputs);
}

#[tokio::test]
async fn only_the_outputs_asked_for_are_sent() {
    let mut peer = Peer::digits().await;
    let wanted = |name: &str| vec![RequestedOutput { name: name.into(), ..Default::default() }];
    let label = infer::render(&infer_request(false, wanted("label")));
    let said = peer.post("/v2/models/digits/infer", label.body).await;
    let outputs = answer::parse(&said.body, None).unwrap().outputs;
    assert_eq!(outputs.iter().map(|output| output.name.as_str()).collect::<Vec<_>>(), ["label"]);
    let other = infer::render(&infer_request(false, wanted("weight")));
    let said = peer.post("/v2/models/digits/infer", other.body).await;
    assert_eq!(said.status, StatusCode::BAD_REQUEST);
    assert_eq!(said.error(), r#"there is no output "weight""#);
}

#[tokio::test]
async fn a_clients_fault_is_answered_in_the_protocols_shape() {
    let mut peer = Peer::digits().await;
    for (body, word) in [
        ("{", "malformed JSON"),
        (r#"{"inputs":[]}"#, "at least one input"),
        (r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,64],"data":[1]}]}"#, "64 elements"),
        (r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,3],"data":[1,2,3]}]}"#, "\"x\""),
        (r#"{"inputs":[{"name":"q","datatype":"FP32","shape":[1],"data":[1]}]}"#, "input"),
    ] {
        let said = peer.post("/v2/models/digits/infer", body).await;
        assert_eq!(said.status, StatusCode::BAD_REQUEST, "{body}");
        assert!(said.error().contains(word), "{body}: {}", said.error());
        let class = classify::response(Flavour::Auto, 400, false, &said.body);
        assert_eq!(class.unwrap_err().as_str(), "client-fault", "{}", said.error());
    }
    let mut bad = request(Method::POST, "/v2/models/digits/infer", "{}");
    bad.headers_mut().insert(JSON_LENGTH_HEADER, "many".parse().unwrap());
    assert_eq!(peer.send(bad).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let mut peer = Peer::digits().await;
    for path in [
        "/",
        "/v1/models/letters",
        "/v2/models/letters",
        "/v2/models/digits/versions/2",
        "/v2/models/letters/ready",
        "/v2/models/digits/stats",
    ] {
        let said = peer.get(path).await;
        assert_eq!(said.status, StatusCode::NOT_FOUND, "{path}");
        assert!(!said.error().is_empty(), "{path}");
    }
    let said = peer.post("/v2/models/letters/infer", "{}").await;
    assert_eq!(said.status, StatusCode::NOT_FOUND);
    assert_eq!(said.error(), "no such model; there are: digits");
}

#[tokio::test]
async fn the_method_must_fit() {
    let mut peer = Peer::digits().await;
    for (method, path, allow) in [
        (Method::GET, "/v2/models/digits/infer", "POST"),
        (Method::POST, "/v2/health/live", "GET"),
        (Method::GET, "/v2/repository/index", "POST"),
        (Method::DELETE, "/v2/models/digits", "GET"),
    ] {
        let said = peer.send(request(method, path, "")).await;
        assert_eq!(said.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(said.headers[ALLOW], allow, "{path}");
    }
    assert_eq!(
        peer.send(request(Method::HEAD, "/v2/health/live", "")).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn bodies_are_limited_and_not_compressed() {
    let models = vec![("digits".to_owned(), demo("logistic"))];
    let mut peer = Peer::start(Options { models, body_limit: 1000, ..Options::default() }).await;
    let said = peer.post("/v2/models/digits/infer", vec![b' '; 1001]).await;
    assert_eq!(said.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(said.error(), "a body may have at most 1000 bytes");
    peer.client = connect(peer.address).await;
    let mut gzip = request(Method::POST, "/v2/models/digits/infer", "x");
    gzip.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
    assert_eq!(peer.send(gzip).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn a_model_that_cannot_be_loaded_is_not_ready_and_the_others_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("late.onnx");
    let models = vec![("digits".to_owned(), demo("logistic")), ("late".to_owned(), path.clone())];
    let mut peer = Peer::start(Options { models, ..Options::default() }).await;
    assert_eq!(peer.get("/v2/models/digits/ready").await.status, StatusCode::OK);
    assert_eq!(peer.get("/v2/health/live").await.status, StatusCode::OK);
    for path in ["/v2/health/ready", "/v2/models/late/ready", "/v2/models/late"] {
        let said = peer.get(path).await;
        assert_eq!(said.status, StatusCode::BAD_REQUEST, "{path}");
    }
    let said = peer.post("/v2/models/late/infer", "{}").await;
    let class = classify::response(Flavour::Auto, said.status.as_u16(), false, &said.body);
    assert_eq!(class.unwrap_err().as_str(), "not-ready", "{}", said.error());
    assert!(said.error().contains("late.onnx"), "{}", said.error());

    let index = repository::parse(&peer.post("/v2/repository/index", "").await.body).unwrap();
    let states: Vec<_> = index.iter().map(|entry| (entry.name.as_str(), entry.state)).collect();
    let (ready, unavailable) = (repository::State::Ready, repository::State::Unavailable);
    assert_eq!(states, [("digits", Some(ready)), ("late", Some(unavailable))]);
    assert!(index[1].reason.contains("late.onnx"));
    let index = peer.post("/v2/repository/index", r#"{"ready":true}"#).await;
    assert_eq!(repository::parse(&index.body).unwrap().len(), 1);

    std::fs::copy(demo("logistic"), &path).unwrap();
    assert_eq!(peer.post("/v2/repository/models/late/load", "{}").await.status, StatusCode::OK);
    assert_eq!(peer.get("/v2/models/late/ready").await.status, StatusCode::OK);
    assert_eq!(peer.get("/v2/health/ready").await.status, StatusCode::OK);
}

#[tokio::test]
async fn models_are_unloaded_and_loaded_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.onnx");
    std::fs::copy(demo("logistic"), &path).unwrap();
    let models = vec![("m".to_owned(), path.clone())];
    let mut peer = Peer::start(Options { models, ..Options::default() }).await;
    assert_eq!(peer.post("/v2/repository/models/m/unload", "").await.status, StatusCode::OK);
    let said = peer.get("/v2/models/m/ready").await;
    assert_eq!(
        (said.status, said.error().as_str()),
        (StatusCode::BAD_REQUEST, "is not ready: it is unloaded")
    );
    assert_eq!(peer.get("/v2/health/ready").await.status, StatusCode::OK);
    assert_eq!(peer.post("/v2/repository/models/m/load", "").await.status, StatusCode::OK);
    assert_eq!(peer.get("/v2/models/m/ready").await.status, StatusCode::OK);

    // A reload that fails says so and keeps what worked.
    std::fs::write(&path, "no model").unwrap();
    assert_eq!(peer.post("/v2/repository/models/m/load", "").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(peer.get("/v2/models/m/ready").await.status, StatusCode::OK);
    assert_eq!(peer.post("/v2/repository/models/n/load", "").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_shutdown_lets_running_requests_end_and_closes_the_door() {
    let mut peer = Peer::digits().await;
    assert_eq!(peer.get("/v2/health/live").await.status, StatusCode::OK);
    let mut idle = connect(peer.address).await;
    drop(peer.stop.take());
    peer.server.await.unwrap();
    assert!(TcpStream::connect(peer.address).await.is_err());
    assert!(idle.send_request(request(Method::GET, "/v2", "")).await.is_err());
}

#[tokio::test]
async fn a_request_that_has_begun_is_answered_after_the_shutdown() {
    let mut peer = Peer::digits().await;
    let body = infer::render(&infer_request(false, vec![])).body;
    let (first, rest) = body.split_at(100);
    let mut stream = TcpStream::connect(peer.address).await.unwrap();
    let head = format!(
        "POST /v2/models/digits/infer HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(first).await.unwrap();

    drop(peer.stop.take());
    while TcpStream::connect(peer.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    stream.write_all(rest).await.unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await.unwrap();
    let said = String::from_utf8_lossy(&said);
    assert!(said.starts_with("HTTP/1.1 200 OK\r\n") && said.contains("probabilities"), "{said}");
    peer.server.await.unwrap();
}

#[tokio::test]
async fn a_request_that_never_ends_does_not_hold_the_shutdown() {
    let models = vec![("digits".to_owned(), demo("logistic"))];
    let drain = Duration::from_millis(50);
    let mut peer = Peer::start(Options { models, drain, ..Options::default() }).await;
    let mut stream = TcpStream::connect(peer.address).await.unwrap();
    stream.write_all(b"POST /v2/models/digits/infer HTTP/1.1\r\n").await.unwrap();
    drop(peer.stop.take());
    peer.server.await.unwrap();
}

#[tokio::test]
async fn an_address_in_use_is_an_error() {
    let peer = Peer::digits().await;
    let models = vec![("digits".to_owned(), demo("logistic"))];
    let second = Server::bind(Options { listen: peer.address, models, ..Options::default() });
    let message = second.map(|_| ()).unwrap_err().to_string();
    assert_eq!(message, format!("cannot listen on {}", peer.address));
}

//! gRPC health, against the server of the tonic project.

use mainstay_policy::health::Check;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};

use crate::ask;
use crate::servers;

struct Grpc {
    url: String,
    reporter: HealthReporter,
    _serving: JoinSet<()>,
}

async fn serve() -> Grpc {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (reporter, service) = health_reporter();
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let incoming = TcpIncoming::from(listener);
        Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
    });
    Grpc { url, reporter, _serving: serving }
}

#[tokio::test]
async fn a_server_says_whether_it_serves() {
    let server = serve().await;
    assert_eq!(ask(&server.url, "grpc").await.check, Check::Passed);
    server.reporter.set_service_status("", ServingStatus::NotServing).await;
    let found = ask(&server.url, "grpc").await;
    assert_eq!((found.check, found.detail.as_str()), (Check::NotReady, "NOT_SERVING"));
}

#[tokio::test]
async fn a_service_is_asked_by_its_name() {
    const FRAUD: &str = "{grpc: {service: fraud.Model}}";
    let server = serve().await;
    assert_eq!(ask(&server.url, FRAUD).await.check, Check::NotReady, "not registered");
    server.reporter.set_service_status("fraud.Model", ServingStatus::Serving).await;
    server.reporter.set_service_status("", ServingStatus::NotServing).await;
    assert_eq!(ask(&server.url, FRAUD).await.check, Check::Passed);
}

#[tokio::test]
async fn who_speaks_another_protocol_fails() {
    let server = servers::Server::new("200 OK", "").await;
    server.answer_raw("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
    let found = ask(&server.url(), "grpc").await;
    assert_eq!(found.check, Check::Failed, "{}", found.detail);
}

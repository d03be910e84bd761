//! HTTP: readiness by the protocol, and any other request with its expectations.

use mainstay_policy::health::Check;
use mainstay_probe::{Probe, probe};

use crate::servers::{Server, Silent};
use crate::{ask, ask_shortly, asked, model, until};

#[tokio::test]
async fn readiness_is_a_status() {
    let server = Server::new("200 OK", "").await;
    let table = [
        ("200 OK", Check::Passed),
        ("400 Bad Request", Check::NotReady),
        ("404 Not Found", Check::NotReady),
        ("503 Service Unavailable", Check::NotReady),
        ("500 Internal Server Error", Check::Failed),
        ("302 Found", Check::Failed),
    ];
    for (status, expected) in table {
        server.answer(status, "{}");
        let found = ask(&server.url(), "oip-ready").await;
        assert_eq!(found.check, expected, "{status}");
        assert_eq!(found.detail, format!("HTTP {}", &status[..3]));
    }
}

#[tokio::test]
async fn readiness_is_asked_for_each_model_below_the_prefix() {
    let server = Server::new("200 OK", "").await;
    let base = asked(&format!("{}/base", server.url()), "oip-ready");
    for model in [None, model("fraud", None), model("fraud", Some("3"))] {
        assert_eq!(probe(&Probe { model, ..base.clone() }).await.check, Check::Passed);
    }
    let requests = server.requests();
    let lines: Vec<_> = requests.iter().filter_map(|request| request.lines().next()).collect();
    assert_eq!(
        lines,
        [
            "GET /base/v2/health/ready HTTP/1.1",
            "GET /base/v2/models/fraud/ready HTTP/1.1",
            "GET /base/v2/models/fraud/versions/3/ready HTTP/1.1",
        ]
    );
    assert!(requests[0].contains(&format!("host: 127.0.0.1:{}\r\n", server.port())));
    assert!(requests[0].contains("connection: close\r\n"));
}

#[tokio::test]
async fn any_request_can_be_sent() {
    let server = Server::new("200 OK", "").await;
    let check = "{http: {method: POST, path: '/warm?n=1', body: '{\"a\": 1}', \
                 headers: {host: models.example, x-purpose: probe}}}";
    assert_eq!(ask(&server.url(), check).await.check, Check::Passed);
    let request = &server.requests()[0];
    assert!(request.starts_with("POST /warm?n=1 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("host: models.example\r\n"), "{request}");
    assert!(request.contains("x-purpose: probe\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\n{\"a\": 1}"), "{request}");
}

#[tokio::test]
async fn a_status_passes_where_a_range_holds_it() {
    let server = Server::new("204 No Content", "").await;
    assert_eq!(ask(&server.url(), "{http: {path: /}}").await.check, Check::Passed);
    server.answer("401 Unauthorized", "");
    assert_eq!(ask(&server.url(), "{http: {path: /}}").await.check, Check::Failed);
    let lenient = "{http: {path: /, status: [200, 400-499]}}";
    assert_eq!(ask(&server.url(), lenient).await.check, Check::Passed);
    server.answer("503 Service Unavailable", "");
    assert_eq!(ask(&server.url(), lenient).await.check, Check::NotReady);
}

#[tokio::test]
async fn a_body_must_hold_the_text_near_its_start() {
    const WANTED: &str = "{http: {path: /, contains: 'state: up'}}";
    let server = Server::new("200 OK", "the state: up, all of it").await;
    assert_eq!(ask(&server.url(), WANTED).await.check, Check::Passed);
    server.answer("200 OK", "the state: down");
    assert_eq!(ask(&server.url(), WANTED).await.check, Check::Failed);
    server.answer("200 OK", &("x".repeat(64 * 1024) + "state: up"));
    assert_eq!(ask(&server.url(), WANTED).await.check, Check::Failed, "beyond what is read");
}

#[tokio::test]
async fn a_body_without_an_end_is_read_until_the_text_was_found() {
    let server = Server::new("200 OK", "").await;
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    server.answer_raw(&format!("{head}9\r\nstate: up\r\n"));
    let wanted = "{http: {path: /, contains: 'state: up'}}";
    assert_eq!(ask(&server.url(), wanted).await.check, Check::Passed);
    let unwanted = "{http: {path: /, contains: other}}";
    assert_eq!(ask_shortly(&server.url(), unwanted).await, Check::TimedOut);
}

#[tokio::test]
async fn a_broken_answer_fails() {
    let server = Server::new("200 OK", "").await;
    for bytes in ["", "SSH-2.0-OpenSSH_9.6\r\n", "HTTP/1.1 ab OK\r\n\r\n"] {
        server.answer_raw(bytes);
        let found = ask(&server.url(), "oip-ready").await;
        assert_eq!(found.check, Check::Failed, "{bytes:?}: {}", found.detail);
    }
}

#[tokio::test]
async fn a_probe_leaves_no_connection_behind() {
    let silent = Silent::new().await;
    assert_eq!(ask_shortly(&silent.url(), "oip-ready").await, Check::TimedOut);
    until("the connection to be closed", || silent.seen().closed == 1).await;
}

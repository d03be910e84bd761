//! Pages of counters: read once for all models, and never waited for or read without end.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay_policy::health::counters::{Kind, Reading};
use mainstay_probe::{Page, Tally, scrape};

use super::servers::Server;
use super::{asked, model, until};

const PAGE: &str = "# TYPE nv_inference_request_success counter\n\
    nv_inference_request_success{model=\"a\",version=\"1\"} 5\n\
    nv_inference_request_success{model=\"b\",version=\"1\"} 7\n\
    nv_inference_pending_request_count{model=\"a\",version=\"1\"} 2\n";

/// What was told of each subject, in order.
#[derive(Default)]
struct Told(Mutex<Vec<(usize, Result<Reading, String>)>>);

impl Tally for Told {
    fn read(&self, subject: usize, reading: Result<Reading, &str>) {
        self.0.lock().unwrap().push((subject, reading.map_err(str::to_owned)));
    }
}

impl Told {
    fn first_of(&self, subject: usize) -> Option<Result<Reading, String>> {
        let told = self.0.lock().unwrap();
        told.iter().find(|(of, _)| *of == subject).map(|(_, reading)| reading.clone())
    }
}

/// Reads the server's page for models a, b and c; what is told first of each.
async fn read(server: &Server, interval: Duration) -> [Result<Reading, String>; 3] {
    let page = Page {
        address: asked(&server.url(), "oip-ready").address.unwrap(),
        path: "/metrics".to_owned(),
        kind: Kind::Triton,
        interval,
        readers: vec![(0, model("a", None)), (1, model("b", Some("1"))), (2, model("c", None))],
    };
    let told = Arc::new(Told::default());
    let reading = tokio::spawn(scrape(vec![page], told.clone()));
    until("all three are told of", || told.first_of(2).is_some()).await;
    reading.abort();
    [0, 1, 2].map(|subject| told.first_of(subject).unwrap())
}

#[tokio::test]
async fn one_page_tells_of_every_model() {
    let server = Server::new("200 OK", PAGE).await;
    let [a, b, c] = read(&server, Duration::from_secs(60)).await;
    assert_eq!(a, Ok(Reading { done: 5.0, undone: 2.0, found: true }));
    assert_eq!(b, Ok(Reading { done: 7.0, undone: 0.0, found: true }));
    assert_eq!(c, Err("the page has nothing on this model".to_owned()));
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert!(requests[0].starts_with("GET /metrics HTTP/1.1\r\n"), "{}", requests[0]);
}

#[tokio::test]
async fn a_page_that_does_not_come_is_said() {
    let server = Server::new("503 Service Unavailable", "").await;
    assert_eq!(read(&server, Duration::from_secs(60)).await[0], Err("HTTP 503".to_owned()));
    server.answer_raw("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
    let [broken, ..] = read(&server, Duration::from_millis(150)).await;
    assert!(broken.is_err(), "{broken:?}");
}

#[tokio::test]
async fn a_page_without_end_is_not_read_to_it() {
    let endless = "x".repeat(5 * 1024 * 1024);
    let server = Server::new("200 OK", &endless).await;
    let [large, ..] = read(&server, Duration::from_secs(60)).await;
    assert!(large.is_err(), "{large:?}");
}

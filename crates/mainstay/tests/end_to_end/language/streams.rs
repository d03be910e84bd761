//! Streams: invisible failover before the first content, an explicit error after it.

use tokio::time::Instant;

use super::*;

/// A stream that was asked for, and what came of it.
struct Streamed {
    events: Vec<String>,
    /// Whether it came to a clean end.
    whole: bool,
    first: Option<Duration>,
}

impl Streamed {
    fn text(&self) -> String {
        let chunks = self.events.iter().filter_map(|event| Some(event.rsplit_once("data: ")?.1));
        let chunks = chunks.filter_map(|data| serde_json::from_str::<Value>(data).ok());
        chunks
            .filter_map(|chunk| {
                let choice = &chunk["choices"][0];
                let text = choice["delta"]["content"].as_str().or_else(|| choice["text"].as_str());
                text.or_else(|| chunk["delta"].as_str()).map(str::to_owned)
            })
            .collect()
    }

    fn is_done(&self) -> bool {
        self.events.iter().any(|event| event == "data: [DONE]")
    }

    fn error(&self) -> Option<Value> {
        let last = self.events.last()?;
        let data = last.rsplit("data: ").next()?;
        let error = serde_json::from_str::<Value>(data).ok()?["error"].clone();
        (!error.is_null()).then_some(error)
    }
}

async fn stream(gateway: &Gateway, request: &Request) -> Streamed {
    let begun = Instant::now();
    let mut connection = Connection::open(gateway.http).await.expect("it listens");
    connection.send(request).await.expect("it reads");
    let head = connection.head(false).await.expect("an answer");
    let (mut text, mut first) = (String::new(), None);
    let whole = loop {
        match connection.part().await {
            Ok(Some(part)) => {
                first.get_or_insert_with(|| begun.elapsed());
                text.push_str(&String::from_utf8(part).expect("UTF-8"));
            }
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    assert_eq!(head.status, 200, "{text}");
    let events = text.split("\n\n").filter(|event| !event.is_empty()).map(str::to_owned);
    Streamed { events: events.collect(), whole, first }
}

fn streaming() -> Request {
    chat(&json!({"stream": true}))
}

#[tokio::test]
async fn a_stream_passes_as_it_comes() {
    let (first, second) = (server("{}").await, server("{}").await);
    let gateway = two(&first, &second).await;
    let got = stream(&gateway, &streaming()).await;
    assert_eq!((got.text().as_str(), got.is_done(), got.whole), (ALL_WORDS, true, true));
    for (path, body) in [
        ("/v1/completions", json!({"model": "m", "prompt": "x", "stream": true})),
        ("/v1/responses", json!({"model": "m", "input": "x", "stream": true})),
    ] {
        let got = stream(&gateway, &Request::post(path, body.to_string())).await;
        assert_eq!((got.text().as_str(), got.whole), (ALL_WORDS, true), "{path}");
    }
}

/// Each way to fail before the first content: another server answers, and the client sees nothing
/// of it.
#[tokio::test]
async fn what_fails_before_its_first_content_is_never_seen() {
    let second = server("{}").await;
    for behave in [
        "behave: cut",
        "behave: stall",
        "behave: keep-alives, pause: 20ms",
        "behave: malformed-chunk",
        "behave: error-inside",
        "behave: 500",
        "behave: 529",
        "behave: black-hole",
    ] {
        let first = server(&format!("{{rules: [{{{behave}}}]}}")).await;
        let gateway = two(&first, &second).await;
        let got = stream(&gateway, &streaming()).await;
        assert_eq!(
            (got.text().as_str(), got.is_done(), got.whole),
            (ALL_WORDS, true, true),
            "{behave}"
        );
        assert_eq!(got.events.iter().filter(|it| it.contains("\"role\"")).count(), 1, "{behave}");
        if !behave.contains("black-hole") {
            assert!(got.first.expect("a part") < Duration::from_secs(5), "{behave}");
        }
    }
}

/// Each way to fail after it: the client gets an explicit error and no end.
#[tokio::test]
async fn what_fails_after_its_first_content_says_so() {
    let second = server("{}").await;
    for behave in [
        "behave: cut, events: 3",
        "behave: stall, events: 3",
        "behave: keep-alives, events: 3, pause: 20ms",
        "behave: malformed-chunk, events: 3",
        "behave: error-inside, events: 3",
    ] {
        let first = server(&format!("{{rules: [{{{behave}}}]}}")).await;
        let gateway = two(&first, &second).await;
        for request in [
            streaming(),
            Request::post(
                "/v1/completions",
                json!({"model": "m", "prompt": "x", "stream": true}).to_string(),
            ),
            Request::post(
                "/v1/responses",
                json!({"model": "m", "input": "x", "stream": true}).to_string(),
            ),
        ] {
            let got = stream(&gateway, &request).await;
            assert_eq!(
                (got.text().as_str(), got.is_done(), got.whole),
                ("1 2 3 ", false, false),
                "{behave}"
            );
            assert!(got.error().is_some(), "{behave}: {:?}", got.events);
        }
        assert_eq!(second.journal().counts().executions, 0, "no other server may write into it");
    }
}

#[tokio::test]
async fn an_end_without_an_end_is_a_cut() {
    let first = server("{rules: [{behave: no-done}]}").await;
    let second = server("{}").await;
    let gateway = two(&first, &second).await;
    let got = stream(&gateway, &streaming()).await;
    assert!(!got.whole && !got.is_done());
    let error = got.error().expect("an error");
    assert_eq!(error["code"], "MS0261");
    assert!(error["message"].as_str().is_some_and(|message| message.contains("truncated")));
}

#[tokio::test]
async fn a_slow_server_does_not_prove_itself() {
    let slow = server("{rules: [{behave: slow-tokens, pause: 100ms}]}").await;
    let fast = server("{}").await;
    let mut first = pool_of(&json!([url(slow.address())]));
    first["streams"]["prove"] = json!({"events": 6, "within": "200ms"});
    let pools = json!({"first": first, "second": pool_of(&json!([url(fast.address())]))});
    let chain = json!([{"pool": "first"}, {"pool": "second", "equivalent": true}]);
    let models = json!({"m": {"deadline": "20s", "chain": chain}});
    let gateway = Gateway::start(config(&pools, &models)).await;
    let got = stream(&gateway, &streaming()).await;
    assert_eq!((got.text().as_str(), got.whole), (ALL_WORDS, true));
    assert_eq!(fast.journal().counts().executions, 1);
}

//! Streams by example; that no cut changes the result is in `tests/properties.rs`.

use super::*;

#[test]
fn event_streams_are_known_by_their_type() {
    assert!(is_event_stream("text/event-stream"));
    assert!(is_event_stream("Text/Event-Stream; charset=utf-8"));
    assert!(is_event_stream(" text/event-stream ; charset=utf-8"));
    assert!(!is_event_stream("application/json"));
    assert!(!is_event_stream("text/event-streams"));
}

#[test]
fn keep_alives_are_no_content() {
    for idle in [
        ": keep-alive\n\n",
        "\n\n\n",
        "event: ping\n\n",
        "id: 1\nretry: 3\n\n",
        "data\n\n",
        "data:\n\n",
    ] {
        assert_eq!(first_event_end(idle.as_bytes()), None, "{idle:?}");
        let stream = format!("{idle}data: x\n\ndata: y\n\n");
        assert_eq!(first_event_end(stream.as_bytes()), Some(idle.len() + 9), "{idle:?}");
    }
}

#[test]
fn every_line_ending_is_one() {
    for end in ["\n", "\r\n", "\r"] {
        let stream = format!(": hi{end}{end}data: x{end}{end}");
        let found = first_event_end(stream.as_bytes());
        // After a CR the event is over; an LF that may follow belongs to the same ending.
        let complete = stream.len() - usize::from(end == "\r\n");
        assert_eq!(found, Some(complete), "{end:?}");
    }
}

#[test]
fn an_unfinished_event_is_no_content() {
    assert_eq!(first_event_end(b"data: half an ev"), None);
    assert_eq!(first_event_end(b"data: a line\n"), None);
    assert_eq!(first_event_end(b"data: a line\n\n"), Some(14));
}

#[test]
fn a_role_alone_is_no_content() {
    let chunk = |choice: &str| format!("data: {{\"choices\":[{choice}]}}\n\n");
    let idle = [
        r#"{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}"#,
        r#"{"delta":{"role":"assistant","content":null}}"#,
        r#"{"delta":{}}"#,
    ];
    for choice in idle {
        assert_eq!(first_event_end(chunk(choice).as_bytes()), None, "{choice}");
    }
    let content = [
        r#"{"delta":{"content":"hi"}}"#,
        r#"{"delta":{"tool_calls":[{"index":0}]}}"#,
        r#"{"delta":{},"finish_reason":"stop"}"#,
        r#"{"delta":{"role":"assistant"}},{"delta":{"content":"x"}}"#,
        r#"{"text":"legacy"}"#,
        "",
    ];
    for choice in content {
        assert!(first_event_end(chunk(choice).as_bytes()).is_some(), "{choice}");
    }
}

#[test]
fn an_error_event_is_a_failure() {
    let failed = |stream: &str| match Gate::new().push(stream.as_bytes()) {
        Progress::Failed { data } => Some(data),
        _ => None,
    };
    let said = r#"{"error":"model is gone"}"#;
    assert_eq!(failed(&format!("data: {said}\n\n")).as_deref(), Some(said));
    assert_eq!(failed("event: error\ndata: a\ndata: b\n\n").as_deref(), Some("a\nb"));
    assert_eq!(failed("data: {\"error\":null,\"text_output\":\"x\"}\n\n"), None);
    assert_eq!(first_event_end(format!("data: {said}\n\n").as_bytes()), None);
}

#[test]
fn a_gate_stays_where_it_is() {
    let mut gate = Gate::new();
    assert_eq!(gate.push(b"data: x\n"), Progress::Waiting);
    assert_eq!(gate.push(b"\nmore"), Progress::Content { end: 9 });
    assert_eq!(gate.push(b"data: {\"error\":1}\n\n"), Progress::Content { end: 9 });
}

#[test]
fn waiting_has_an_end() {
    let mut gate = Gate::new();
    assert_eq!(gate.push(&b": k\n\n".repeat(MAX_EVENTS - 1)), Progress::Waiting);
    assert_eq!(gate.push(b": k\n\n"), Progress::TooLong);
    let mut gate = Gate::new();
    assert_eq!(gate.push(&vec![b'x'; MAX_BYTES - 1]), Progress::Waiting);
    assert_eq!(gate.push(b"x"), Progress::TooLong);
    assert_eq!(gate.push(b"\n\ndata: x\n\n"), Progress::TooLong);
}

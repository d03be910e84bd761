//! Streams by example; that no cut changes what passes is in `tests/openai.rs`.

use super::*;

const ROLE: &str = r#"data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#;
const WORD: &str =
    r#"data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}"#;
const STOP: &str = r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const DONE: &str = "data: [DONE]";

fn stream(events: &[&str]) -> String {
    events.iter().map(|event| format!("{event}\n\n")).collect()
}

fn push(form: Form, text: &str) -> (Passed, Passage) {
    let mut passage = Passage::new(form);
    let passed = passage.push(Bytes::copy_from_slice(text.as_bytes()));
    (passed, passage)
}

fn content(form: Form, event: &str) -> u32 {
    push(form, &stream(&[event])).0.content
}

#[test]
fn a_whole_stream_passes_as_it_came() {
    let text = stream(&[": ping", ROLE, WORD, STOP, DONE]);
    let (passed, passage) = push(Form::Chat, &text);
    assert_eq!(passed.out, text.as_bytes());
    assert_eq!((passed.content, passed.trouble), (2, None));
    assert!(passage.is_complete());
}

#[test]
fn what_brings_nothing_is_no_content() {
    for event in [
        ROLE,
        ": keep-alive",
        "event: ping",
        "data:",
        r#"data: {"choices":[{"delta":{}}]}"#,
        r#"data: {"choices":[{"delta":{"content":null,"tool_calls":[]}}]}"#,
        r#"data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#,
    ] {
        assert_eq!(content(Form::Chat, event), 0, "{event}");
    }
    for event in [
        r#"data: {"type":"response.created","response":{"id":"r","error":null,"usage":null}}"#,
        r#"data: {"type":"response.output_item.added","item":{}}"#,
        r#"data: {"type":"response.output_text.delta","delta":""}"#,
    ] {
        assert_eq!(content(Form::Responses, event), 0, "{event}");
    }
}

#[test]
fn whatever_a_client_waits_for_is_content() {
    for event in [
        WORD,
        STOP,
        r#"data: {"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}"#,
        r#"data: {"choices":[{"delta":{"reasoning_content":"hm"}}]}"#,
        r#"data: {"choices":[{"delta":{"refusal":"no"}}]}"#,
        r#"data: {"unknown":true, "id":7}"#.replace("\"id\":7", "\"type\":7").as_str(),
    ] {
        assert_eq!(content(Form::Chat, event), 1, "{event}");
    }
    assert_eq!(content(Form::Completions, r#"data: {"choices":[{"text":"hi"}]}"#), 1);
    let delta = r#"data: {"type":"response.output_text.delta","delta":"hi"}"#;
    assert_eq!(content(Form::Responses, delta), 1);
}

#[test]
fn the_end_is_known() {
    let complete = |form, events: &[&str]| push(form, &stream(events)).1.is_complete();
    assert!(complete(Form::Chat, &[WORD, STOP]));
    assert!(complete(Form::Chat, &[WORD, DONE]));
    assert!(!complete(Form::Chat, &[ROLE, WORD]));
    let other = r#"data: {"choices":[{"index":1,"delta":{"content":"a"}}]}"#;
    assert!(!complete(Form::Chat, &[WORD, other, STOP]));
    let two = |events: &[&str]| {
        let mut passage = Passage::new(Form::Chat).of_choices(Some(2));
        passage.push(stream(events).into());
        passage.is_complete()
    };
    assert!(!two(&[WORD, STOP]), "the second choice has not begun");
    assert!(two(&[WORD, STOP, other, &STOP.replace("\"index\":0", "\"index\":1")]));
    assert!(complete(Form::Responses, &[r#"data: {"type":"response.completed"}"#]));
    assert!(!complete(Form::Responses, &[r#"data: {"type":"response.output_text.done"}"#]));
}

#[test]
fn trouble_stops_the_stream() {
    let (passed, _) = push(Form::Chat, &stream(&[WORD, "data: {\"choi", WORD]));
    assert_eq!(passed.out, stream(&[WORD]));
    assert_eq!(passed.trouble, Some(Trouble::Malformed));
    let error = r#"data: {"error":{"message":"gone","code":500}}"#;
    let (passed, _) = push(Form::Chat, &stream(&[WORD, error, WORD]));
    assert_eq!((passed.out, passed.last), (stream(&[WORD]).into(), stream(&[error]).into()));
    assert!(matches!(passed.trouble, Some(Trouble::Failed(said)) if said.message == "gone"));
    assert_eq!(push(Form::Chat, &stream(&[DONE])).0.trouble, Some(Trouble::Malformed));
}

#[test]
fn only_whole_events_go_on() {
    let mut passage = Passage::new(Form::Chat);
    let text = stream(&[WORD, WORD]);
    let (first, second) = text.split_at(WORD.len() + 10);
    let passed = passage.push(Bytes::copy_from_slice(first.as_bytes()));
    assert_eq!(passed.out, stream(&[WORD]));
    assert_eq!(passage.held(), 8);
    let passed = passage.push(Bytes::copy_from_slice(second.as_bytes()));
    assert_eq!(passed.out, stream(&[WORD]));
    assert_eq!(passage.content(), 2);
}

#[test]
fn usage_is_kept() {
    let usage = r#"data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}"#;
    let (_, passage) = push(Form::Chat, &stream(&[WORD, STOP, usage, DONE]));
    assert_eq!(passage.usage(), Some(Usage { prompt_tokens: 5, completion_tokens: 2 }));
}

#[test]
fn a_cut_is_told_in_the_form_of_the_api() {
    for form in [Form::Chat, Form::Completions, Form::Responses] {
        let event = cut_event(form, "MS0211", "the server stopped");
        let mut passage = Passage::new(form);
        let passed = passage.push(event.clone());
        assert_eq!(passed.last, event);
        assert!(matches!(passed.trouble, Some(Trouble::Failed(said)) if said.code == "MS0211"));
    }
}

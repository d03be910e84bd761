//! Properties of requests and streams of the OpenAI API.
//!
//! A failing case is printed by proptest and kept beside this file.

use bytes::Bytes;
use mainstay_protocol::openai::continuation::Told;
use mainstay_protocol::openai::head::{Head, rename};
use mainstay_protocol::openai::members::Members;
use mainstay_protocol::openai::path::Form;
use mainstay_protocol::openai::stream::{Passage, Passed, Trouble};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value};

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |it| it.is_finite()).prop_map(Value::from),
        "(\"|\\\\|\\{|\\}|\\[|\\]|,|:|\\PC){0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::hash_map("\\PC{0,6}", inner, 0..6)
                .prop_map(|map| Value::from(map.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn object() -> impl Strategy<Value = Map<String, Value>> {
    proptest::collection::hash_map("\\PC{0,6}", json(), 0..8)
        .prop_map(|map| map.into_iter().collect())
}

const EVENTS: &str = "(data: \\{\"choices\":\\[\\{\"index\":0,\"delta\":\\{\"content\":\"hi\"\\}\\}\\]\\}|\
     data: \\{\"choices\":\\[\\{\"delta\":\\{\"role\":\"assistant\"\\}\\}\\]\\}|: k|data:|data: \\[DONE\\]|\
     data: \\{\"error\":\\{\"message\":\"x\"\\}\\}|data: \\{oops|event: error|\\PC{0,5}|)(\n|\r\n|\r)";

/// What of a stream passes, and how it ended, in pieces of these sizes.
fn passed(stream: &[u8], cuts: &[usize]) -> (Vec<u8>, u32, Option<Trouble>, bool) {
    let mut passage = Passage::new(Form::Chat);
    let (mut all, mut content, mut trouble) = (Vec::new(), 0, None);
    let mut take = |piece: Passed| {
        all.extend_from_slice(&piece.out);
        content += piece.content;
        trouble = trouble.take().or(piece.trouble);
    };
    for pair in cuts.windows(2) {
        take(passage.push(Bytes::copy_from_slice(&stream[pair[0]..pair[1]])));
    }
    take(passage.finish());
    (all, content, trouble, passage.is_complete())
}

proptest! {
    #[test]
    fn members_are_those_of_a_full_parser(object in object(), pretty in any::<bool>()) {
        let text = if pretty {
            serde_json::to_string_pretty(&object).unwrap()
        } else {
            serde_json::to_string(&object).unwrap()
        };
        let members = Members::of(text.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
        prop_assert_eq!(members.len(), object.len());
        for member in members {
            let value: Value = serde_json::from_str(&text[member.value]).unwrap();
            // Floats may be read one bit apart from how they were written.
            prop_assert_eq!(value.to_string(), serde_json::from_str::<Value>(&object[&*member.name].to_string()).unwrap().to_string());
        }
    }

    #[test]
    fn what_a_full_parser_takes_is_taken(text in "(\\{|\\}|\\[|\\]|\"|,|:|\\\\|a|1| |true|\"a\"){0,24}") {
        let ours = Members::of(text.as_bytes()).collect::<Result<Vec<_>, _>>();
        if serde_json::from_str::<Map<String, Value>>(&text).is_ok() {
            prop_assert!(ours.is_ok(), "{}", text);
        }
    }

    #[test]
    fn no_bytes_make_a_reader_panic(body in vec(any::<u8>(), 0..200)) {
        let _ = Head::read(&body);
        let _ = passed(&body, &[0, body.len()]);
        Told::default().hear(&body);
    }

    #[test]
    fn only_the_name_changes(mut object in object(), from in "\\PC{1,8}", to in "\\PC{0,8}") {
        object.retain(|name, _| !name.eq_ignore_ascii_case("model"));
        object.insert("model".to_owned(), Value::from(from.as_str()));
        let body = serde_json::to_vec(&object).unwrap();
        let head = Head::read(&body).unwrap();
        prop_assert_eq!(&*head.model, from.as_str());
        let renamed = rename(&body, &head, &to);
        let read = Head::read(&renamed).unwrap();
        prop_assert_eq!(&*read.model, to.as_str());
        prop_assert_eq!(rename(&renamed, &read, &from), body);
    }

    #[test]
    fn no_cut_changes_what_passes(
        lines in vec(EVENTS, 0..16),
        cuts in vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let stream = lines.concat().into_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let whole = passed(&stream, &[0, stream.len()]);
        prop_assert_eq!(&passed(&stream, &cuts), &whole);
        prop_assert!(stream.starts_with(&whole.0));
        if whole.2.is_none() {
            prop_assert_eq!(whole.0, stream);
        }
    }

    #[test]
    fn what_is_continued_begins_with_what_was_said(words in vec("\\PC{1,6}", 1..12), most in 1..40_u64) {
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"q"}}],"max_tokens":{most}}}"#);
        let head = Head::read(body.as_bytes()).unwrap();
        let mut told = Told::default();
        for word in &words {
            let delta = Value::from(word.as_str());
            told.hear(format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":{delta}}}}}]}}\n\n").as_bytes());
        }
        let asked = told.request(Form::Chat, body.as_bytes(), &head, words.len() as u64).unwrap();
        let asked: Value = serde_json::from_slice(&asked).unwrap();
        prop_assert_eq!(asked["messages"][1]["content"].as_str().unwrap(), words.concat());
        let left = most.saturating_sub(words.len() as u64).max(1);
        prop_assert_eq!(asked["max_tokens"].as_u64(), Some(left));
    }
}

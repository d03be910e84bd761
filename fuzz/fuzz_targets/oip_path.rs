//! Paths: a name that is recognised is written and recognised again as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_protocol::oip::path::{self, Call};

fuzz_target!(|data: &[u8]| check(data));

fn check(data: &[u8]) {
    let Ok(path) = std::str::from_utf8(data) else { return };
    let Some(call) = path::recognise(path) else { return };
    let (Some(model), tail) = (call.model(), tail(&call)) else { return };
    let Some(tail) = tail else { return };
    let built = path::model_path("", model, call.version(), tail);
    assert!(!built.split('/').any(|segment| matches!(segment, "." | "..")));
    assert_eq!(path::recognise(&built), Some(call.clone()));
}

/// What follows the model; calls on the repository have nothing there.
fn tail<'a>(call: &Call<'a>) -> Option<&'a str> {
    match call {
        Call::Infer { .. } => Some("infer"),
        Call::ModelReady { .. } => Some("ready"),
        Call::ModelMetadata { .. } => Some(""),
        Call::Other { tail, .. } => Some(tail),
        _ => None,
    }
}

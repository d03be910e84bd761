//! Requests and answers of TensorFlow Serving's REST API.
//!
//! The first byte chooses the declaration. What is read is written and read again, and must not
//! change (but for NaN, which equals nothing).

#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_protocol::form::{self, Context};
use mainstay_protocol::oip::infer::Request;
use mainstay_protocol::v1::{metadata, path, status};
use mainstay_protocol::{Datatype, Protocol, TensorSpec};

fuzz_target!(|data: &[u8]| check(data));

const DATATYPES: [Datatype; 5] =
    [Datatype::Fp32, Datatype::Int64, Datatype::Bytes, Datatype::Bool, Datatype::Uint8];

fn specs(choice: u8) -> Vec<TensorSpec> {
    let count = usize::from(choice & 1) + 1;
    let tensor = |at: usize| TensorSpec {
        name: ["x", "y_bytes"][at].to_owned(),
        datatype: DATATYPES[(usize::from(choice >> 1) + at) % DATATYPES.len()],
        shape: vec![None; usize::from(choice >> 4) % 4],
    };
    (0..count).map(tensor).collect()
}

fn check(data: &[u8]) {
    let Some((choice, body)) = data.split_first() else { return };
    let specs = specs(*choice);
    let context = Context { model: "m", inputs: &specs, outputs: &specs };
    check_request(body, context);
    check_answer(body, context);
    let _ = metadata::parse(body);
    let _ = status::is_ready(body);
    let _ = status::read_list(body);
    if let Ok(text) = str::from_utf8(body) {
        let _ = path::recognise(text);
    }
}

fn check_request(body: &[u8], context: Context<'_>) {
    let message = (body, None);
    let Ok(request) = form::read_request(Protocol::V1, message, context) else { return };
    // Of columns the first one written counts, which need not be the first declared.
    let rows = form::rows(Protocol::V1, message, context).expect("what was read has rows");
    assert!(request.inputs.iter().any(|input| input.rows() == rows));
    let Ok(encoded) = form::write_request(Protocol::V1, &request, context) else { return };
    let again = form::read_request(Protocol::V1, (&encoded.body, None), context);
    assert_eq!(format!("{:?}", again.as_ref()), format!("{:?}", Ok::<_, ()>(&request)));
    let _ = form::select_rows(Protocol::V1, body, &[0, 1]);
}

fn check_answer(body: &[u8], context: Context<'_>) {
    let Ok(response) = form::read_answer(Protocol::V1, (body, None), context) else { return };
    let asked = Request::default();
    let Ok(said) = form::write_answer(Protocol::V1, &response, &asked, context) else { return };
    let again = form::read_answer(Protocol::V1, (&said.body, None), context);
    let again = again.expect("what was written can be read");
    assert_eq!(format!("{:?}", again.outputs), format!("{:?}", response.outputs));
}

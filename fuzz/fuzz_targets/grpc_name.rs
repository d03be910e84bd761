//! gRPC messages from outside: no walk over them panics, and what it finds is what decoding finds.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_protocol::grpc::proto::inference::ModelInferRequest;
use mainstay_protocol::grpc::{self, Frames, infer};
use prost::Message;

fuzz_target!(|data: &[u8]| {
    if let (Ok(named), Ok(decoded)) = (grpc::named(data), ModelInferRequest::decode(data)) {
        assert_eq!(named.name, decoded.model_name);
        assert_eq!(named.version, decoded.model_version);
        assert_eq!(named.id, decoded.id);
        let other = grpc::renamed(data, "other", "").expect("what was walked over once");
        let other = ModelInferRequest::decode(&other[..]).expect("what was decoded once");
        assert_eq!(other.model_name, "other");
        assert_eq!(other.inputs, decoded.inputs);
    }
    if let Ok(request) = infer::read_request(data) {
        let sent = infer::write_request(&request, "m").expect("what was read can be sent");
        infer::read_request(&sent.body).expect("what was sent can be read");
    }
    let _answer = infer::read_answer(data);
    let (mut whole, mut parts) = (Frames::default(), Frames::default());
    whole.push(data);
    data.chunks(3).for_each(|part| parts.push(part));
    assert_eq!((whole.complete(), whole.is_whole()), (parts.complete(), parts.is_whole()));
});

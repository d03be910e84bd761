//! The table by example: what each server really says.

use Flavour::{Auto, MlServer, TfServing, TorchServe, Triton};

use super::*;

fn class(flavour: Flavour, status: u16, said: &str) -> Option<Class> {
    response(flavour, status, false, &error::body(said)).err()
}

#[test]
fn success_needs_no_body() {
    for (flavour, _) in Flavour::NAMES {
        for status in [200, 201, 204, 304] {
            assert!(!needs_body(flavour, status));
            assert_eq!(response(flavour, status, false, b"\xff{"), Ok(()));
        }
    }
}

#[test]
fn triton_says_not_ready_with_400_and_503() {
    for said in [
        "Request for unknown model: 'fraud' is not found or is not ready",
        "Model 'fraud' version 1 is not ready",
        "Request for unknown model: 'fraud' has no available versions",
        "[request id: 7] model 'fraud' is unavailable",
        "Server is stopping, scheduler for model has stopped accepting new inference requests",
    ] {
        for status in [400, 503] {
            assert_eq!(class(Triton, status, said), Some(Class::NotReady), "{said}");
            assert_eq!(class(Auto, status, said), Some(Class::NotReady), "{said}");
        }
    }
}

#[test]
fn a_missing_model_may_be_loaded_elsewhere() {
    for (flavour, _) in Flavour::NAMES {
        assert_eq!(class(flavour, 404, "Model fraud not found"), Some(Class::NotReady));
    }
}

#[test]
fn mlserver_says_everything_with_400() {
    assert_eq!(class(MlServer, 400, "Model fraud is not ready yet."), Some(Class::NotReady));
    assert_eq!(class(MlServer, 400, "CUDA out of memory."), Some(Class::FatalAccelerator));
    assert_eq!(class(MlServer, 400, "Inference failed: x"), Some(Class::ServerFault));
    assert_eq!(class(MlServer, 400, "Codec not found for input"), Some(Class::ClientFault));
    assert_eq!(class(MlServer, 422, "field required"), Some(Class::ClientFault));
    assert_eq!(class(MlServer, 500, "division by zero"), Some(Class::ServerFault));
}

#[test]
fn triton_says_unknown_with_400() {
    assert_eq!(class(Triton, 400, "unexpected error in execution"), Some(Class::ServerFault));
    let stub = "Stub process 'fraud_0_0' is not healthy.";
    assert_eq!(class(Triton, 400, stub), Some(Class::ServerFault));
}

#[test]
fn torchserve_has_its_own_meanings() {
    let full = r#"{"code":503,"type":"ServiceUnavailableException","message":"No worker is available to serve request: mlp"}"#;
    assert_eq!(response(TorchServe, 503, false, full.as_bytes()), Err(Class::Capacity));
    assert_eq!(response(TorchServe, 503, false, b""), Err(Class::Capacity));
    assert_eq!(class(TorchServe, 507, "CUDA out of memory"), Some(Class::Capacity));
    assert_eq!(class(TorchServe, 500, "Worker died."), Some(Class::ServerFault));
}

#[test]
fn capacity_is_known_by_status_header_or_words() {
    for (flavour, _) in Flavour::NAMES {
        for status in [408, 429, 507, 529] {
            assert_eq!(class(flavour, status, ""), Some(Class::Capacity), "{flavour:?} {status}");
        }
        assert_eq!(response(flavour, 503, true, b""), Err(Class::Capacity));
        let queue = "Exceeds maximum queue size";
        assert_eq!(class(flavour, 503, queue), Some(Class::Capacity), "{flavour:?}");
    }
    assert_eq!(class(Triton, 400, "Exceeds maximum queue size"), Some(Class::Capacity));
}

#[test]
fn a_bare_503_is_a_fault_unless_the_server_means_full_by_it() {
    assert_eq!(class(Auto, 503, "no healthy upstream"), Some(Class::ServerFault));
    assert_eq!(response(TfServing, 503, false, b"<html>"), Err(Class::ServerFault));
    assert_eq!(response(Triton, 503, false, b""), Err(Class::Capacity));
}

#[test]
fn a_lost_accelerator_is_fatal() {
    for said in [
        "PyTorch execute failure: CUDA error: an illegal memory access was encountered",
        "onnx runtime error 6: CUBLAS_STATUS_EXECUTION_FAILED",
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "NCCL error in: ProcessGroupNCCL.cpp",
    ] {
        for status in [500, 503] {
            assert_eq!(class(Auto, status, said), Some(Class::FatalAccelerator), "{said}");
        }
        assert_eq!(class(Triton, 400, said), Some(Class::FatalAccelerator), "{said}");
        assert_eq!(class(TfServing, 400, said), Some(Class::ClientFault), "{said}");
    }
    let plain = b"RuntimeError: CUDA error: device-side assert triggered";
    assert_eq!(response(Auto, 500, false, plain), Err(Class::FatalAccelerator));
}

#[test]
fn a_client_cannot_blame_a_server_by_what_it_sends() {
    for said in [
        "unexpected inference input 'CUDA error', for model 'fraud'",
        "unexpected inference input 'x' CUDA error 'y', for model 'fraud'",
        r#"[request id: CUDA error] inference input "x" data-type is INT8"#,
        "[request id: ] CUDA error ] expected 1 inputs but got 2 inputs",
        "input `traceback` is not in the model, internal error in the parser of the client's `x`",
        "inference input 'is not ready' data-type is 'FP32', model 'fraud' expects 'INT8'",
    ] {
        assert_eq!(class(Auto, 400, said), Some(Class::ClientFault), "{said}");
        assert_eq!(class(Triton, 400, said), Some(Class::ClientFault), "{said}");
    }
}

#[test]
fn the_rest_follows_the_status() {
    let rest = [
        (301, Class::ServerFault),
        (400, Class::ClientFault),
        (401, Class::ClientFault),
        (405, Class::ClientFault),
        (409, Class::ClientFault),
        (413, Class::ClientFault),
        (415, Class::ClientFault),
        (422, Class::ClientFault),
        (500, Class::ServerFault),
        (501, Class::ClientFault),
        (502, Class::ServerFault),
        (504, Class::Timeout),
        (505, Class::ServerFault),
        (599, Class::ServerFault),
        (0, Class::ServerFault),
        (999, Class::ServerFault),
    ];
    for (status, expected) in rest {
        for (flavour, _) in Flavour::NAMES {
            // Their keys are the gateway's own as a rule.
            let refused = flavour.has_codes() && (401..=403).contains(&status);
            let expected = if refused { Class::Credentials } else { expected };
            assert_eq!(class(flavour, status, "x"), Some(expected), "{flavour:?} {status}");
        }
    }
}

#[test]
fn without_need_the_body_changes_nothing() {
    for (flavour, _) in Flavour::NAMES {
        for status in (0..=999).filter(|&status| !needs_body(flavour, status)) {
            let bare = response(flavour, status, false, b"");
            let said = error::body("CUDA error: is not ready, queue is full, traceback");
            assert_eq!(response(flavour, status, false, &said), bare, "{flavour:?} {status}");
        }
    }
}

#[test]
fn every_text_of_the_table_is_in_lower_case() {
    for rule in table::RULES {
        for text in rule.says {
            assert_eq!(*text, text.to_ascii_lowercase());
        }
    }
}

#[test]
fn statuses_of_grpc_have_their_classes() {
    use crate::grpc::Code;
    let table = [
        (Auto, Code::Ok, "", None),
        (Auto, Code::Unavailable, "", Some(Class::ServerFault)),
        (Triton, Code::Unavailable, "", Some(Class::Capacity)),
        (Triton, Code::Unavailable, "Exceeds maximum queue size", Some(Class::Capacity)),
        (
            Triton,
            Code::Unavailable,
            "Request for unknown model: 'm' is not at ready state",
            Some(Class::NotReady),
        ),
        (MlServer, Code::InvalidArgument, "Model m not ready yet.", Some(Class::NotReady)),
        (Auto, Code::InvalidArgument, "wrong shape", Some(Class::ClientFault)),
        (Auto, Code::NotFound, "no such model", Some(Class::NotReady)),
        (Auto, Code::ResourceExhausted, "queue full", Some(Class::Capacity)),
        (
            Auto,
            Code::ResourceExhausted,
            "Received message larger than max (9 vs. 4)",
            Some(Class::ClientFault),
        ),
        (Auto, Code::DeadlineExceeded, "", Some(Class::Timeout)),
        (Auto, Code::Internal, "onnxruntime error", Some(Class::ServerFault)),
        (Auto, Code::Internal, "CUDA error: unspecified", Some(Class::FatalAccelerator)),
        (Auto, Code::Unknown, "Unexpected <class 'ValueError'>: x", Some(Class::ServerFault)),
        (Auto, Code::Unimplemented, "shared memory", Some(Class::ClientFault)),
        (
            Auto,
            Code::Unimplemented,
            "unknown service inference.GRPCInferenceService",
            Some(Class::NotReady),
        ),
        (Auto, Code::Cancelled, "", Some(Class::ServerFault)),
        (Auto, Code::PermissionDenied, "", Some(Class::ClientFault)),
    ];
    for (flavour, code, said, expected) in table {
        assert_eq!(grpc(flavour, code, said).err(), expected, "{flavour:?} {code:?} {said}");
    }
}

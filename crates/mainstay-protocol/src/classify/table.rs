//! The table of failures: which status, from whom, saying what, is of which class.
//!
//! Read from the top; the first rule that fits decides. Sources: Triton's
//! `src/http_server.cc` (error codes to statuses) and `core/src/scheduler_utils.cc` (queue
//! messages), MLServer's `mlserver/errors.py`, `TorchServe`'s `docs/inference_api.md`,
//! TensorFlow Serving's `util/net_http/server`, RFC 9110.

use std::ops::RangeInclusive;

use mainstay_policy::Class;

use super::Flavour;
use super::Flavour::{Auto, MlServer, TfServing, TorchServe, Triton};

/// One line of the table.
#[derive(Debug)]
pub(super) struct Rule {
    /// The flavours it is for; none means all.
    flavours: &'static [Flavour],
    /// The statuses it is for.
    status: RangeInclusive<u16>,
    /// Whether `Retry-After` must be there or must not; `None` where it does not matter.
    pub(super) retry_after: Option<bool>,
    /// Texts of which one must be said (in lower case); none means that the status decides.
    pub(super) says: &'static [&'static str],
    /// What it is.
    pub(super) class: Class,
}

impl Rule {
    /// Whether the rule is for this flavour and status.
    pub(super) fn concerns(&self, flavour: Flavour, status: u16) -> bool {
        let flavours = self.flavours.is_empty() || self.flavours.contains(&flavour);
        flavours && self.status.contains(&status)
    }

    /// Whether one of the rule's texts is in `said`, or it needs none.
    pub(super) fn is_said(&self, said: &str) -> bool {
        self.says.is_empty() || self.says.iter().any(|text| said.contains(text))
    }
}

const fn rule(
    flavours: &'static [Flavour],
    status: RangeInclusive<u16>,
    says: &'static [&'static str],
    class: Class,
) -> Rule {
    Rule { flavours, status, retry_after: None, says, class }
}

/// What accelerators and their libraries say when the process that used them is lost, or short
/// of memory that only another process could give it.
const ACCELERATOR: &[&str] = &[
    "cuda error",
    "cudaerror",
    "cuda failure",
    "cuda out of memory",
    "cuda runtime error",
    "cublas_status_",
    "cudnn_status_",
    "nccl error",
    "device-side assert",
    "illegal memory access",
    "unspecified launch failure",
    "uncorrectable ecc error",
    "gpu is lost",
    "hip error",
    "hip out of memory",
    "failed to allocate cuda memory",
    "out of gpu memory",
];

/// A model that is known and cannot answer yet, or no more.
const NOT_READY: &[&str] = &[
    "is not ready",
    // Triton's model lifecycle: "Request for unknown model: … is not at ready state".
    "is not at ready state",
    "request for unknown model",
    "not ready yet",
    "unavailable",
    "no available versions",
    "is not loaded",
    "not yet loaded",
    "server is stopping",
    "stopped accepting new",
];

/// A server that has too much to do.
const FULL: &[&str] = &[
    "maximum queue size",
    "queue is full",
    "queue full",
    "no worker is available",
    "request timeout expired",
    "too many requests",
    "overloaded",
    "resource exhausted",
];

/// Triton's error UNKNOWN and MLServer's `InferenceError` where they speak of the server; both
/// share the status 400 with the client's own faults, so nothing else there is held against it.
const BROKE_INSIDE: &[&str] = &[
    "unknown error",
    "unexpected error",
    "internal error",
    "inference failed",
    "failed to process the request",
    "execute failure",
    "stub process",
    "traceback",
    "no such file or directory",
];

/// The table.
pub(super) const RULES: &[Rule] = &[
    // Short of memory for this request (TorchServe) or of storage: others may have more. A
    // TorchServe worker restarts itself, so this is not fatal even where CUDA is named.
    rule(&[], 507..=507, &[], Class::Capacity),
    rule(&[], 429..=429, &[], Class::Capacity),
    // Overloaded, as Anthropic and NVIDIA Dynamo say it.
    rule(&[], 529..=529, &[], Class::Capacity),
    // Not the model's fault and not the client's: our request came too slowly for the server,
    // or an idle connection was closed with it. Others may take it, nobody is blamed.
    rule(&[], 408..=408, &[], Class::Capacity),
    // Before all else: a process that lost its accelerator fails every request from now on.
    rule(&[], 500..=599, ACCELERATOR, Class::FatalAccelerator),
    rule(&[Auto, Triton, MlServer], 400..=400, ACCELERATOR, Class::FatalAccelerator),
    // Not ready: 400 from Triton and MLServer, 503 from Triton since its error codes map.
    rule(&[Auto, Triton, MlServer], 400..=400, NOT_READY, Class::NotReady),
    rule(&[Auto, Triton, MlServer, TfServing], 503..=503, NOT_READY, Class::NotReady),
    // A model that is missing on one endpoint may be loaded on the next.
    rule(&[], 404..=404, &[], Class::NotReady),
    // Full: Triton had 400 for everything before its error codes were mapped to statuses.
    rule(&[Auto, Triton], 400..=400, FULL, Class::Capacity),
    rule(&[], 503..=503, FULL, Class::Capacity),
    // RFC 9110: a server that says when to come back is overloaded or in maintenance.
    Rule {
        flavours: &[],
        status: 503..=503,
        retry_after: Some(true),
        says: &[],
        class: Class::Capacity,
    },
    // TorchServe's 503 is "no worker or a full queue", Triton's is its UNAVAILABLE.
    rule(&[TorchServe, Triton], 503..=503, &[], Class::Capacity),
    // Anybody else's bare 503 is a fault. It is also what a proxy says before a dead server and
    // what a server says on its way down, where probes of another path see nothing and only the
    // breaker ends the attempts. A server that is merely full has the ways above to say so, and
    // half-open trials bring it back soon if it had not.
    rule(&[], 503..=503, &[], Class::ServerFault),
    // A proxy, or TensorFlow Serving's DEADLINE_EXCEEDED.
    rule(&[], 504..=504, &[], Class::Timeout),
    rule(&[Auto, Triton, MlServer], 400..=400, BROKE_INSIDE, Class::ServerFault),
    // Asking for what the server cannot do (Triton's UNSUPPORTED: shared memory, decoupled
    // models, sequences): its replicas cannot either, and if it moved health or breakers, one
    // odd client could take healthy servers away from all others.
    rule(&[], 501..=501, &[], Class::ClientFault),
    rule(&[], 400..=499, &[], Class::ClientFault),
    // A redirect is no answer to an inference request, and following it is not ours.
    rule(&[], 0..=u16::MAX, &[], Class::ServerFault),
];

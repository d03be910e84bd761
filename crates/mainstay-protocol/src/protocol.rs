//! The wire protocols that clients and servers of models speak.

use std::borrow::Cow;
use std::fmt;

/// A wire protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Protocol {
    /// The Open Inference Protocol V2 over HTTP, with binary tensors.
    #[default]
    Oip,
    /// The Open Inference Protocol V2 over gRPC.
    OipGrpc,
    /// `TensorFlow` Serving's REST API, and KServe's V1 protocol made after it.
    V1,
    /// `TorchServe`'s inference API.
    TorchServe,
    /// The OpenAI API, as many servers of language models speak it.
    OpenAi,
    /// Any HTTP, at paths that a model declares.
    Http,
    /// Bytes over TCP; of no model.
    Tcp,
}

impl Protocol {
    /// Every protocol with its name in a configuration.
    pub const NAMES: [(Self, &'static str); 7] = [
        (Self::Oip, "oip"),
        (Self::OipGrpc, "oip-grpc"),
        (Self::V1, "v1"),
        (Self::TorchServe, "torchserve"),
        (Self::OpenAi, "openai"),
        (Self::Http, "http"),
        (Self::Tcp, "tcp"),
    ];

    /// The name in a configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(protocol, _)| *protocol == self).map_or("", |(_, name)| name)
    }

    /// Whether its messages are tensors, so that they can be read, judged, divided into rows and
    /// answered from inside the gateway.
    #[must_use]
    pub const fn has_tensors(self) -> bool {
        matches!(self, Self::Oip | Self::OipGrpc | Self::V1)
    }

    /// Whether what is asked in this protocol can be sent to servers that speak `server`: the
    /// same one, or another of tensors, into which messages are translated.
    #[must_use]
    pub fn reaches(self, server: Self) -> bool {
        self == server || (self.has_tensors() && server.has_tensors())
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The model that a request names, and what it wants of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Called<'a> {
    /// The model's name, decoded.
    pub model: Cow<'a, str>,
    /// The version, if the request names one.
    pub version: Option<Cow<'a, str>>,
    /// What follows the model in the path, as it came; empty where nothing does.
    pub tail: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_reach_tensors_and_everything_reaches_itself() {
        for (protocol, name) in Protocol::NAMES {
            assert!(protocol.reaches(protocol), "{name}");
            assert_eq!(protocol.to_string(), name);
        }
        assert!(Protocol::OipGrpc.reaches(Protocol::V1));
        assert!(!Protocol::OpenAi.reaches(Protocol::Oip));
        assert!(!Protocol::Oip.reaches(Protocol::Http));
    }
}

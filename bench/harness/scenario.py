"""What is asked of the proxies: a small GET and an inference of 1 KiB."""

import dataclasses
import struct

from .backend import INFER_PATH, MODEL_PATH

BODY_BYTES = 1024


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One kind of request."""

    name: str
    path: str
    body: str | None
    title: str
    # Instead of a body: a message of gRPC in its frame.
    frame: bytes | None = None


def infer_body() -> str:
    """An inference request of 64 numbers, padded with blanks to BODY_BYTES."""
    data = ",".join(f"{0.015 * index:.3f}" for index in range(64))
    body = (
        '{"inputs":[{"name":"x","datatype":"FP32","shape":[1,64],"data":[' + data + "]}]"
    )
    return body + " " * (BODY_BYTES - len(body) - 1) + "}"


def _field(number: int, content: bytes) -> bytes:
    """A field of a protobuf message that has a length (below 16 KiB)."""
    length = len(content)
    size = bytes([length]) if length < 128 else bytes([length & 0x7F | 0x80, length >> 7])
    return bytes([number << 3 | 2]) + size + content


def infer_frame() -> bytes:
    """A ModelInferRequest of the same 64 numbers, as raw bytes, in its frame."""
    shape = bytes([1, 64])
    head = _field(1, b"x") + _field(2, b"FP32") + _field(3, shape)
    raw = struct.pack("<64f", *(0.015 * index for index in range(64)))
    message = _field(1, b"m") + _field(5, head) + _field(7, raw)
    return b"\0" + struct.pack(">I", len(message)) + message


GRPC = (
    Scenario("grpc", "/inference.GRPCInferenceService/ModelInfer", None,
             "gRPC ModelInfer of 64 numbers", infer_frame()),
)

SCENARIOS = (
    Scenario("get", MODEL_PATH, None, "GET of model metadata, answer about 200 bytes"),
    Scenario("post", INFER_PATH, infer_body(), "POST of a 1 KiB inference, answer about 200 bytes"),
)

"""What is asked of the proxies: a small GET and an inference of 1 KiB."""

import dataclasses

from .backend import INFER_PATH, MODEL_PATH

BODY_BYTES = 1024


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One kind of request."""

    name: str
    path: str
    body: str | None
    title: str


def infer_body() -> str:
    """An inference request of 64 numbers, padded with blanks to BODY_BYTES."""
    data = ",".join(f"{0.015 * index:.3f}" for index in range(64))
    body = (
        '{"inputs":[{"name":"x","datatype":"FP32","shape":[1,64],"data":[' + data + "]}]"
    )
    return body + " " * (BODY_BYTES - len(body) - 1) + "}"


SCENARIOS = (
    Scenario("get", MODEL_PATH, None, "GET of model metadata, answer about 200 bytes"),
    Scenario("post", INFER_PATH, infer_body(), "POST of a 1 KiB inference, answer about 200 bytes"),
)

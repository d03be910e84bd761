"""Plain HTTP, for what the Triton client would not send or would not show."""

import json
import urllib.error
import urllib.request

import tritonclient.http as triton

MODEL = "digits"


def ask(address: str, path: str, body: bytes | None = None, **headers: str):
    """One request; gives status, headers and body, also for errors."""
    request = urllib.request.Request(f"http://{address}{path}", data=body)
    request.add_header("content-type", "application/json")
    for name, value in headers.items():
        request.add_header(name.replace("_", "-"), value)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def status(mainstay) -> dict:
    """The gateway's own account of itself."""
    return json.loads(ask(mainstay.admin, "/api/status")[2])


def tensor(pixels, binary: bool):
    """The model's input, as JSON or as bytes."""
    wanted = triton.InferInput("x", list(pixels.shape), "FP32")
    wanted.set_data_from_numpy(pixels, binary_data=binary)
    return wanted


def outputs(binary: bool) -> list:
    """Both outputs of the model, as JSON or as bytes."""
    return [
        triton.InferRequestedOutput(name, binary_data=binary) for name in ("label", "probabilities")
    ]

"""A client's mistakes: told in the protocol's shape, and held against no server."""

import json

import pytest
from tritonclient.utils import InferenceServerException
from wire import MODEL, ask, status, tensor

INFER = f"/v2/models/{MODEL}/infer"
BROKEN = {
    "no JSON": b'{"inputs": [',
    "no inputs": b"{}",
    "a shape that the data does not fill": (
        b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,64],"data":[1.0]}]}'
    ),
    "an unknown datatype": (
        b'{"inputs":[{"name":"x","datatype":"FLOAT","shape":[1,1],"data":[1.0]}]}'
    ),
}


def breakers(mainstay) -> list:
    """Every breaker's state and failures."""
    return [
        (endpoint["name"], model["model"], model["breaker"]["state"], model["breaker"]["failures"])
        for pool in status(mainstay)["pools"]
        for endpoint in pool["endpoints"]
        for model in endpoint["models"]
    ]


def test_an_unknown_model_is_told_the_known_ones(client, mainstay, digits):
    with pytest.raises(InferenceServerException, match=MODEL):
        client.infer("nobody", [tensor(digits[0][:1], True)])
    assert ask(mainstay.address, "/v2/models/nobody/infer", b"{}")[0] == 404


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_body_is_the_clients_fault_alone(mainstay, body):
    before = breakers(mainstay)
    # More often than any breaker would stand in a row.
    for _ in range(20):
        code, headers, answer = ask(mainstay.address, INFER, body)
        assert code == 400
        assert headers.get_content_type() == "application/json"
        assert json.loads(answer)["error"]
    assert breakers(mainstay) == before


def test_the_wrong_input_is_named_to_the_client(client, digits):
    wrong = tensor(digits[0][:1], True)
    wrong._name = "y"
    with pytest.raises(InferenceServerException):
        client.infer(MODEL, [wrong])


def test_after_mistakes_good_requests_are_served(client, digits):
    assert client.infer(MODEL, [tensor(digits[0][:1], True)]).as_numpy("label") is not None

"""Inference through the gateway: the same answers as from the model server itself."""

import json

import numpy as np
import pytest
from wire import MODEL, ask, outputs, tensor

BATCHES = (1, 7, 64)
FORMS = [(given, asked) for given in (False, True) for asked in (False, True)]


@pytest.mark.parametrize("rows", BATCHES)
@pytest.mark.parametrize(("given", "asked"), FORMS, ids=lambda form: "binary" if form else "json")
def test_answers_equal_the_model_servers(client, direct, digits, rows, given, asked):
    pixels = digits[0][:rows]
    answers = [
        asked_of.infer(MODEL, [tensor(pixels, given)], outputs=outputs(asked))
        for asked_of in (client, direct)
    ]
    for name in ("label", "probabilities"):
        ours, theirs = (answer.as_numpy(name) for answer in answers)
        assert ours.shape[0] == rows
        np.testing.assert_array_equal(ours, theirs)


def test_the_request_id_comes_back(client, digits):
    answer = client.infer(MODEL, [tensor(digits[0][:1], True)], request_id="seven")
    assert answer.get_response()["id"] == "seven"


def test_an_answer_of_the_first_step_is_the_servers_bytes(mainstay, servers, digits):
    body = json.dumps(
        {
            "inputs": [
                {"name": "x", "datatype": "FP32", "shape": [1, 64], "data": digits[0][0].tolist()}
            ]
        }
    ).encode()
    path = f"/v2/models/{MODEL}/infer"
    ours, theirs = (ask(address, path, body) for address in (mainstay.address, servers[0].address))
    assert (ours[0], ours[2]) == (theirs[0], theirs[2]) == (200, ours[2])
    assert ours[1]["x-mainstay-request-id"]
    assert "x-mainstay-degraded" not in ours[1]


def test_compressed_requests_pass_or_are_refused_in_the_protocols_shape(client, direct, digits):
    """Whatever the server says of gzip, the gateway says too."""

    def said(asked_of):
        try:
            answer = asked_of.infer(
                MODEL, [tensor(digits[0][:4], True)], request_compression_algorithm="gzip"
            )
            return answer.as_numpy("label").tolist()
        except Exception as error:
            return type(error).__name__

    assert said(client) == said(direct)


def test_the_held_out_digits_are_read_well(client, digits):
    pixels, labels = digits
    answer = client.infer(MODEL, [tensor(pixels, True)], outputs=outputs(True))
    assert np.mean(answer.as_numpy("label").reshape(-1) == labels) > 0.97

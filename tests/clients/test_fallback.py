"""The same client while every server is gone: answers go on, and say that they are degraded."""

import numpy as np
import pytest
import tritonclient.http as triton
from processes import DEMO, gateway, model_server
from wire import MODEL, outputs, tensor

FALLBACK = f"""
      - embedded: {DEMO / "digits-logistic.onnx"}
      - default: {{label: -1, probabilities: [{", ".join(["0.1"] * 10)}]}}
"""


@pytest.fixture
def bereft(tmp_path):
    """A gateway whose only server has just been killed."""
    server = model_server()
    process = gateway([server], tmp_path, FALLBACK)
    server.kill()
    yield process
    assert process.stop() == 0


@pytest.mark.parametrize("binary", [False, True], ids=["json", "binary"])
def test_the_embedded_model_answers(bereft, digits, binary):
    pixels, labels = digits
    with triton.InferenceServerClient(bereft.address) as client:
        answer = client.infer(
            MODEL, [tensor(pixels[:100], binary)], outputs=outputs(binary), request_id="seven"
        )
    head = answer.get_response()
    assert head["parameters"]["degraded"] is True
    assert head["parameters"]["served_by"].startswith("embedded")
    assert head["id"] == "seven"
    right = np.mean(answer.as_numpy("label").reshape(-1) == labels[:100])
    assert right > 0.85

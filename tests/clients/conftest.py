"""What the tests stand on: two model servers, a gateway in front of them, and clients for both.

The client is the Triton project's own package, so that what it accepts is what the protocol's
users have.
"""

import csv

import numpy as np
import pytest
import tritonclient.http as triton
from processes import DEMO, gateway, model_server


@pytest.fixture(scope="session")
def servers():
    """Two model servers that live as long as the tests."""
    started = [model_server(), model_server()]
    yield started
    for server in started:
        assert server.stop() == 0


@pytest.fixture(scope="session")
def mainstay(servers, tmp_path_factory):
    """The gateway in front of both."""
    process = gateway(servers, tmp_path_factory.mktemp("gateway"))
    yield process
    assert process.stop() == 0


@pytest.fixture
def client(mainstay):
    """The Triton project's client, talking to the gateway."""
    with triton.InferenceServerClient(mainstay.address) as connected:
        yield connected


@pytest.fixture
def direct(servers):
    """The same client, talking to a model server itself."""
    with triton.InferenceServerClient(servers[0].address) as connected:
        yield connected


@pytest.fixture(scope="session")
def digits():
    """The demo's held-out rows: pixels as FP32, and the true labels."""
    with (DEMO / "digits.csv").open() as file:
        rows = np.array(list(csv.reader(file))[1:], dtype=np.float32)
    return rows[:, 1:], rows[:, 0].astype(np.int64)

"""MLServer behind the gateway: a model server that is not ours, killed and frozen under load.

Opt-in, since its packages take minutes to install: MAINSTAY_MLSERVER is the `mlserver` program of an
environment with `mlserver` and `mlserver-sklearn`.
"""

import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from processes import gateway_of
from tritonclient.utils import InferenceServerException

PROGRAM = os.environ.get("MAINSTAY_MLSERVER")
pytestmark = pytest.mark.skipif(
    not PROGRAM, reason="MAINSTAY_MLSERVER does not name MLServer's program"
)
MODEL = "digits"
CLIENTS = 4
SECONDS = 5.0
READY_WITHIN = 120
TRAIN = """
import joblib, numpy, sys
from sklearn.linear_model import LogisticRegression
rows = numpy.random.default_rng(7).normal(size=(200, 4)).astype(numpy.float32)
joblib.dump(LogisticRegression().fit(rows, (rows.sum(axis=1) > 0).astype(int)), sys.argv[1])
"""
POOL = """
    flavour: mlserver
    first-byte-timeout: 500ms
"""


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


class MlServer:
    """One MLServer, with its HTTP and gRPC addresses."""

    def __init__(self, folder: pathlib.Path):
        folder.mkdir()
        ports = [free_port() for _ in range(3)]
        self.http, self.grpc = (f"127.0.0.1:{port}" for port in ports[:2])
        python = pathlib.Path(PROGRAM).parent / "python"
        subprocess.run([python, "-c", TRAIN, str(folder / "model.joblib")], check=True)
        settings = {"http_port": ports[0], "grpc_port": ports[1], "metrics_port": ports[2],
                    "host": "127.0.0.1", "parallel_workers": 0, "debug": False}
        model = {"name": MODEL, "implementation": "mlserver_sklearn.SKLearnModel",
                 "parameters": {"uri": "./model.joblib"}}
        (folder / "settings.json").write_text(json.dumps(settings))
        (folder / "model-settings.json").write_text(json.dumps(model))
        self._log = (folder / "log").open("w")
        self._process = subprocess.Popen(
            [PROGRAM, "start", "."], cwd=folder, stdout=self._log, stderr=self._log,
            start_new_session=True,
        )

    def wait(self):
        until = time.monotonic() + READY_WITHIN
        with tritonclient.http.InferenceServerClient(self.http) as client:
            while time.monotonic() < until:
                try:
                    if client.is_model_ready(MODEL):
                        return self
                except OSError:
                    pass
                time.sleep(0.2)
        pytest.fail("MLServer is not ready: " + pathlib.Path(self._log.name).read_text()[-2000:])

    def kill(self):
        if self._process.poll() is not None:
            return
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def freeze(self):
        os.killpg(self._process.pid, signal.SIGSTOP)


def asking(over: str, address: str):
    """A client's question, for as long as its connection lasts."""
    module = tritonclient.grpc if over == "grpc" else tritonclient.http
    client = module.InferenceServerClient(address)
    asked = module.InferInput("predict", [1, 4], "FP32")
    pixels = np.ones((1, 4), np.float32)
    if over == "grpc":
        asked.set_data_from_numpy(pixels)
    else:
        asked.set_data_from_numpy(pixels, binary_data=False)
    return lambda: client.infer(MODEL, [asked]).as_numpy("predict")


@pytest.mark.parametrize("harm", ["kill", "freeze"])
@pytest.mark.parametrize("client, pool", [("http", "oip"), ("grpc", "oip-grpc"), ("grpc", "oip")])
def test_a_lost_mlserver_costs_no_request(tmp_path, client, pool, harm):
    servers = [MlServer(tmp_path / name) for name in ("one", "other")]
    try:
        addresses = [it.wait().grpc if pool == "oip-grpc" else it.wait().http for it in servers]
        process = gateway_of(addresses, tmp_path, pool, pool=POOL)
        stop, errors, answers = threading.Event(), [], []

        def ask():
            question = asking(client, process.address)
            while not stop.is_set():
                try:
                    answers.append(question().reshape(-1).tolist())
                except InferenceServerException as error:
                    errors.append(str(error))

        threads = [threading.Thread(target=ask) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        time.sleep(SECONDS / 2)
        before = len(answers)
        getattr(servers[0], harm)()
        time.sleep(SECONDS)
        stop.set()
        for thread in threads:
            thread.join()
        assert not errors, errors[:3]
        assert before > 20 and len(answers) > before + 20
        assert all(answer == [1] for answer in answers)
        assert process.stop() == 0
    finally:
        for server in servers:
            server.kill()

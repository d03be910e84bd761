"""Real processes for the tests: model servers, and the gateway in front of them.

The binary is MAINSTAY_BIN, or the newest one in cargo's target folder.
"""

import os
import pathlib
import queue
import signal
import subprocess
import threading

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEMO = ROOT / "crates" / "mainstay" / "demo"
READY = "listening on http://"
ADMIN = "admin on http://"
GRPC = "gRPC on http://"
LIMIT = 60

CONFIG = """
listen: {{http: "127.0.0.1:0"}}
admin: {{address: "127.0.0.1:0"}}
state-dir: "{folder}"
{limits}
pools:
  forest:
    protocol: {protocol}
    endpoints:
{endpoints}
{pool}
models:
  digits:
    deadline: 5s
    outputs:
      label: {{datatype: INT64, shape: [-1]}}
      probabilities: {{datatype: FP32, shape: [-1, 10]}}
    chain:
      - {{pool: forest}}
{fallback}
"""


def binary() -> pathlib.Path:
    """The program under test."""
    if "MAINSTAY_BIN" in os.environ:
        return pathlib.Path(os.environ["MAINSTAY_BIN"])
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = [target / profile / "mainstay" for profile in ("debug", "release")]
    built = [path for path in built if path.exists()]
    if not built:
        pytest.exit("mainstay is not built: cargo build -p mainstay", returncode=1)
    return max(built, key=lambda path: path.stat().st_mtime)


class Process:
    """A mainstay process; its addresses are what it prints once it is ready."""

    def __init__(self, *arguments: str, wait_for: str = READY):
        self._process = subprocess.Popen(
            [binary(), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._words: list[str] = []
        threading.Thread(target=self._read_output, daemon=True).start()
        threading.Thread(target=self._read_errors, daemon=True).start()
        self.address = self._wait(READY)
        self.admin = self._wait(ADMIN) if wait_for == ADMIN else None

    def _read_output(self) -> None:
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _read_errors(self) -> None:
        self._words += self._process.stderr

    def _wait(self, marker: str) -> str:
        while True:
            line = self._lines.get(timeout=LIMIT)
            if line is None:
                self._process.wait()
                pytest.fail(f"mainstay ended before it was ready:\n{''.join(self._words)}")
            if marker in line:
                return line.partition(marker)[2].strip()

    def grpc(self) -> str:
        """Where it listens for gRPC; of a process that was told to."""
        return self._wait(GRPC)

    def freeze(self) -> None:
        """Stops its time: the kernel accepts connections, and nothing is answered."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets its time go on."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """As a crash would: no last words."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """Asks it to end; gives the exit code."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            return self._process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


def model_server(*more: str) -> Process:
    """The demo's best model, under the name that the gateway's clients use too."""
    model = f"digits={DEMO / 'digits-forest.onnx'}"
    return Process("model-server", "--model", model, "--listen", "127.0.0.1:0", *more)


def gateway(servers: list[Process], folder: pathlib.Path, fallback: str = "") -> Process:
    """A gateway with one pool over these servers."""
    return gateway_of([server.address for server in servers], folder, fallback=fallback)


def gateway_of(
    addresses: list[str], folder: pathlib.Path, protocol: str = "oip", fallback: str = "",
    pool: str = "", limits: str = "",
) -> Process:
    """A gateway with one pool over servers at these addresses, which speak this protocol."""
    endpoints = "\n".join(f"      - url: http://{address}" for address in addresses)
    config = folder / "mainstay.yaml"
    config.write_text(CONFIG.format(
        folder=folder, endpoints=endpoints, fallback=fallback, protocol=protocol, pool=pool,
        limits=limits,
    ))
    return Process("serve", "--config", str(config), wait_for=ADMIN)

"""Mainstay: one worker, and everything that is on by default is on.

Probes, breaker, retry budget, metrics and decision records: nothing is turned off for the run.
"""

import pathlib

from ..paths import mainstay_binary
from ..process import free_port
from .proxy import Proxy

CONFIG = """
listen: {{http: "127.0.0.1:{port}"}}
admin: {{address: "127.0.0.1:{admin}"}}
state-dir: "{folder}/mainstay-state"
workers: 1
pools:
  model:
    protocol: {protocol}
    endpoints:
      - {{url: "http://127.0.0.1:{backend}"}}
models:
  m:
    deadline: 10s
    chain:
      - {{pool: model}}
"""


def _find() -> str | None:
    binary = mainstay_binary()
    return str(binary) if binary.exists() else None


def _config(folder: pathlib.Path, port: int, backend: int) -> str:
    return CONFIG.format(folder=folder, port=port, backend=backend, admin=free_port(),
                         protocol="oip")


def _grpc_config(folder: pathlib.Path, port: int, backend: int) -> str:
    return CONFIG.format(folder=folder, port=port, backend=backend, admin=free_port(),
                         protocol="oip-grpc")


def _command(binary: str, config: pathlib.Path) -> list[str]:
    return [binary, "serve", "--config", str(config)]


PROXY = Proxy("mainstay", _find, "mainstay.yaml", _config, _command)
GRPC = Proxy("mainstay", _find, "mainstay-grpc.yaml", _grpc_config, _command)

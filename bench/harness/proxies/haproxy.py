"""HAProxy: one thread, connections reused always, health checks and retries on, no log."""

import pathlib

from ..install import program
from .proxy import Proxy

CONFIG = """
global
    nbthread 1
    maxconn 4096

defaults
    mode http
    timeout client 600s
    timeout server 10s
    timeout connect 250ms
    timeout http-keep-alive 600s
    retries 2
    option redispatch
    retry-on conn-failure empty-response 503
    http-reuse always

frontend clients
    bind 127.0.0.1:{port}
    default_backend model

backend model
    option httpchk GET /v2/health/ready
    http-check expect status 200
    server one 127.0.0.1:{backend} check inter 2s fastinter 500ms rise 3 fall 3
"""


def _config(_folder: pathlib.Path, port: int, backend: int) -> str:
    return CONFIG.format(port=port, backend=backend)


def _command(binary: str, config: pathlib.Path) -> list[str]:
    return [binary, "-db", "-f", str(config)]


PROXY = Proxy("haproxy", lambda: program("haproxy"), "haproxy.cfg", _config, _command, ("-v",))

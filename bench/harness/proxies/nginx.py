"""nginx: one worker, connections to the backend kept alive, no access log.

The free edition has no active health checks; its passive ones (max_fails) stay on.
"""

import pathlib

from ..install import program
from .proxy import Proxy

CONFIG = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/nginx-body;
    proxy_temp_path {folder}/nginx-proxy;
    fastcgi_temp_path {folder}/nginx-fastcgi;
    uwsgi_temp_path {folder}/nginx-uwsgi;
    scgi_temp_path {folder}/nginx-scgi;
    upstream model {{
        server 127.0.0.1:{backend} max_fails=3 fail_timeout=10s;
        keepalive 64;
        keepalive_requests 1000000000;
        keepalive_timeout 600s;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://model;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_next_upstream error timeout http_502 http_503;
            proxy_connect_timeout 250ms;
        }}
    }}
}}
"""


def _config(folder: pathlib.Path, port: int, backend: int) -> str:
    return CONFIG.format(folder=folder, port=port, backend=backend)


def _command(binary: str, config: pathlib.Path) -> list[str]:
    return [binary, "-c", str(config), "-e", str(config.with_suffix(".err"))]


PROXY = Proxy("nginx", lambda: program("nginx"), "nginx.conf", _config, _command, ("-v",))

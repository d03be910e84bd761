"""The server behind every proxy: nginx on the load's core, with constant answers.

It is as cheap as a server gets, so that the proxy is what is measured. It also answers the
readiness paths of the Open Inference Protocol, because proxies probe it.
"""

import pathlib

from .install import program
from .paths import ROOT, mainstay_binary
from .process import Pinned, free_port

MODEL_PATH = "/v2/models/m"
INFER_PATH = "/v2/models/m/infer"

METADATA = (
    '{"name":"m","versions":["1"],"platform":"bench","inputs":[{"name":"x","datatype":"FP32",'
    '"shape":[-1,64]}],"outputs":[{"name":"label","datatype":"INT64","shape":[-1]},'
    '{"name":"p","datatype":"FP32","shape":[-1,10]}]}'
)
ANSWER = (
    '{"model_name":"m","model_version":"1","outputs":[{"name":"label","datatype":"INT64",'
    '"shape":[1],"data":[7]},{"name":"p","datatype":"FP32","shape":[1,10],'
    '"data":[0.01,0.01,0.01,0.01,0.01,0.01,0.01,0.91,0.01,0.01]}]}'
)

CONFIG = """
daemon off;
worker_processes 1;
pid {folder}/backend.pid;
error_log {folder}/backend-error.log error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    server_tokens off;
    default_type application/json;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/backend-body;
    proxy_temp_path {folder}/backend-proxy;
    fastcgi_temp_path {folder}/backend-fastcgi;
    uwsgi_temp_path {folder}/backend-uwsgi;
    scgi_temp_path {folder}/backend-scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = /v2/models/m {{ return 200 '{metadata}'; }}
        location = /v2/models/m/infer {{ return 200 '{answer}'; }}
        location = /v2/models/m/ready {{ return 200 '{{}}'; }}
        location /v2/health/ {{ return 200 '{{}}'; }}
        location = /v2 {{ return 200 '{{"name":"bench","version":"1","extensions":[]}}'; }}
    }}
}}
"""


def start_grpc(folder: pathlib.Path, core: int) -> tuple[Pinned, int]:
    """A model server for gRPC: it runs a small model, so that CPU time for each request, and not
    requests a second, is what compares proxies."""
    port = free_port()
    model = ROOT / "crates" / "mainstay" / "demo" / "digits-logistic.onnx"
    command = [str(mainstay_binary()), "model-server", "--model", f"m={model}",
               "--listen", f"127.0.0.1:{free_port()}", "--grpc", f"127.0.0.1:{port}"]
    backend = Pinned("backend", command, core, folder / "backend.log")
    backend.wait_for(port)
    return backend, port


def start(folder: pathlib.Path, core: int) -> tuple[Pinned, int]:
    """Starts the backend; gives the process and its port."""
    port = free_port()
    config = folder / "backend.conf"
    config.write_text(CONFIG.format(folder=folder, port=port, metadata=METADATA, answer=ANSWER))
    command = [program("nginx") or "nginx", "-c", str(config), "-e", str(folder / "backend.err")]
    backend = Pinned("backend", command, core, folder / "backend.log")
    backend.wait_for(port)
    return backend, port

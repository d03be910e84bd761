"""Envoy: one worker, health checks and outlier detection on, retries on connect failure.

No access log, no tracing, no generated request ids; its statistics are on, as by default.
"""

import json
import pathlib

from ..install import envoy
from .proxy import Proxy

ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
MANAGER = (
    "type.googleapis.com/envoy.extensions.filters.network"
    ".http_connection_manager.v3.HttpConnectionManager"
)


def _address(port: int) -> dict:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _listener(port: int) -> dict:
    route = {
        "match": {"prefix": "/"},
        "route": {
            "cluster": "model",
            "timeout": "10s",
            "retry_policy": {"retry_on": "connect-failure,reset,gateway-error", "num_retries": 2},
        },
    }
    manager = {
        "@type": MANAGER,
        "stat_prefix": "bench",
        "generate_request_id": False,
        "http_filters": [{"name": "router", "typed_config": {"@type": ROUTER}}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    }
    filters = [{"name": "http", "typed_config": manager}]
    return {"address": _address(port), "filter_chains": [{"filters": filters}]}


def _cluster(backend: int) -> dict:
    endpoint = {"endpoint": {"address": _address(backend)}}
    return {
        "name": "model",
        "type": "STATIC",
        "connect_timeout": "0.25s",
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": {
            "cluster_name": "model",
            "endpoints": [{"lb_endpoints": [endpoint]}],
        },
        "health_checks": [
            {
                "timeout": "0.4s",
                "interval": "2s",
                "unhealthy_threshold": 3,
                "healthy_threshold": 3,
                "http_health_check": {"path": "/v2/health/ready"},
            }
        ],
        "outlier_detection": {"consecutive_5xx": 5},
    }


def _config(_folder: pathlib.Path, port: int, backend: int) -> str:
    resources = {"listeners": [_listener(port)], "clusters": [_cluster(backend)]}
    return json.dumps({"static_resources": resources}, indent=1)


def _grpc_config(folder: pathlib.Path, port: int, backend: int) -> str:
    cluster = _cluster(backend)
    cluster["health_checks"][0].pop("http_health_check")
    cluster["health_checks"][0]["grpc_health_check"] = {}
    cluster["typed_extension_protocol_options"] = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    resources = {"listeners": [_listener(port)], "clusters": [cluster]}
    return json.dumps({"static_resources": resources}, indent=1)


def _command(binary: str, config: pathlib.Path) -> list[str]:
    return [binary, "-c", str(config), "--concurrency", "1", "--log-level", "error",
            "--disable-hot-restart"]


PROXY = Proxy("envoy", envoy, "envoy.json", _config, _command)
GRPC = Proxy("envoy", envoy, "envoy-grpc.json", _grpc_config, _command)

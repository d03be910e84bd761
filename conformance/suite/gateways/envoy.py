"""Envoy: active health checks, outlier detection, retries on other hosts, a backup priority.

A cluster for each model, so that one that is dead on a server does not take the others with it.
Outlier detection looks every second and ejects for ten, not every ten for thirty as by default, and
may take out half of the hosts rather than a tenth. Retries have a budget instead of the default
three at a time, which one silent server would use up.
"""

import json

from harness.install import envoy

from .gateway import AT_ONCE, CONNECT, TRIES, TRY, Gateway, Site
from ..load import DEADLINE

ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
MANAGER = (
    "type.googleapis.com/envoy.extensions.filters.network"
    ".http_connection_manager.v3.HttpConnectionManager"
)
PREVIOUS_HOSTS = {
    "name": "envoy.retry_host_predicates.previous_hosts",
    "typed_config": {
        "@type": "type.googleapis.com/"
        "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    },
}


def _address(port: int) -> dict:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _endpoint(port: int) -> dict:
    return {"endpoint": {"address": _address(port)}}


HIGH = {"headers": [{"name": "x-priority", "string_match": {"exact": "high"}}]}


def _routes(site: Site, model: str) -> list[dict]:
    usual = _route(model)
    if not site.priorities:
        return [usual]
    # What matters has circuit breakers of its own.
    return [
        {"match": usual["match"] | HIGH, "route": usual["route"] | {"priority": "HIGH"}}, usual,
    ]


def _route(model: str) -> dict:
    return {
        "match": {"prefix": f"/v2/models/{model}/"},
        "route": {
            "cluster": model,
            "timeout": f"{DEADLINE}s",
            "retry_policy": {
                # 5xx holds connect-failure, reset and the per-try timeout as well.
                "retry_on": "5xx,retriable-status-codes",
                "retriable_status_codes": [429],
                "num_retries": TRIES - 1,
                "per_try_timeout": f"{TRY}s",
                "retry_host_predicate": [PREVIOUS_HOSTS],
                "host_selection_retry_max_attempts": 5,
            },
        },
    }


def _listener(site: Site) -> dict:
    manager = {
        "@type": MANAGER,
        "stat_prefix": "conformance",
        "generate_request_id": False,
        "http_filters": [{"name": "router", "typed_config": {"@type": ROUTER}}],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all", "domains": ["*"],
                    "routes": [route for m in site.models for route in _routes(site, m)],
                }
            ]
        },
    }
    filters = [{"name": "http", "typed_config": manager}]
    return {"address": _address(site.port), "filter_chains": [{"filters": filters}]}


def _cluster(site: Site, model: str) -> dict:
    levels = [site.nearest, site.farther, (site.backup,)]
    levels = [[_endpoint(place.port) for place in level] for level in levels if level]
    breaker = {
        "max_requests": AT_ONCE * (len(site.first) + 1),
        "retry_budget": {"budget_percent": {"value": 20}, "min_retry_concurrency": 10},
    }
    return {
        "name": model,
        "type": "STATIC",
        "connect_timeout": f"{CONNECT}s",
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": {
            "cluster_name": model,
            "endpoints": [
                {"priority": number, "lb_endpoints": level}
                for number, level in enumerate(levels)
            ],
        },
        "health_checks": [
            {
                "timeout": "0.4s",
                "interval": "1s",
                # Else a cluster without traffic at its start is next looked at after a minute.
                "no_traffic_interval": "1s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 2,
                "http_health_check": {"path": f"/v2/models/{model}/ready"},
            }
        ],
        "outlier_detection": {
            "consecutive_5xx": 5,
            "consecutive_gateway_failure": 5,
            "enforcing_consecutive_gateway_failure": 100,
            "failure_percentage_threshold": 50,
            "failure_percentage_minimum_hosts": 3,
            "failure_percentage_request_volume": 20,
            "enforcing_failure_percentage": 100,
            "interval": "1s",
            "base_ejection_time": "10s",
            "max_ejection_percent": 50,
            # A probe that passes says nothing of the traffic.
            "successful_active_health_check_uneject_host": False,
        },
        "circuit_breakers": {
            "thresholds": [
                breaker, *([breaker | {"priority": "HIGH"}] if site.priorities else []),
            ]
        },
    }


def _config(site: Site) -> str:
    clusters = [_cluster(site, model) for model in site.models]
    resources = {"listeners": [_listener(site)], "clusters": clusters}
    return json.dumps({"static_resources": resources}, indent=1)


GATEWAY = Gateway(
    "envoy", envoy, "envoy.json", _config,
    lambda binary, config: [
        binary, "-c", str(config), "--concurrency", "1", "--log-level", "error",
        "--disable-hot-restart",
    ],
)

"""The gateways under test, one adapter each."""

from . import envoy, haproxy, mainstay, nginx
from .gateway import Gateway, Place, Running, Site, start

ALL: dict[str, Gateway] = {
    gateway.name: gateway
    for gateway in (mainstay.GATEWAY, envoy.GATEWAY, haproxy.GATEWAY, nginx.GATEWAY)
}

__all__ = ["ALL", "Gateway", "Place", "Running", "Site", "start"]

"""The proxies under test, one file each, and how to start them."""

from . import envoy, haproxy, mainstay, nginx
from .proxy import DIRECT, Proxy, Running, start

ALL: tuple[Proxy, ...] = (DIRECT, nginx.PROXY, haproxy.PROXY, envoy.PROXY, mainstay.PROXY)
PEERS = ("nginx", "haproxy", "envoy")

__all__ = ["ALL", "DIRECT", "PEERS", "Proxy", "Running", "start"]

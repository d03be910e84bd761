"""The proxies under test, one file each, and how to start them."""

from . import envoy, haproxy, mainstay, nginx
from .proxy import DIRECT, Proxy, Running, start

ALL: tuple[Proxy, ...] = (DIRECT, nginx.PROXY, haproxy.PROXY, envoy.PROXY, mainstay.PROXY)
# Those that speak gRPC to servers, by name.
GRPC = {"direct": DIRECT, "envoy": envoy.GRPC, "mainstay": mainstay.GRPC}
PEERS = ("nginx", "haproxy", "envoy")

__all__ = ["ALL", "DIRECT", "GRPC", "PEERS", "Proxy", "Running", "start"]

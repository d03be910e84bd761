"""Ports that stay free: below those that the system gives to outgoing connections.

A server that is killed must find its port free when it comes back, while gateways open connections
all the time. Suites that run side by side take theirs from ranges of their own.
"""

import itertools
import socket

FIRST, SPAN, SIDES = 20000, 2000, 6


class Ports:
    """Free ports of one side, none of them twice before all were given."""

    def __init__(self, side: int):
        low = FIRST + side % SIDES * SPAN
        self._next = itertools.cycle(range(low, low + SPAN))

    def take(self) -> int:
        """A port of loopback that nobody holds now."""
        for port in itertools.islice(self._next, SPAN):
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
                return port
        raise RuntimeError("no free port")

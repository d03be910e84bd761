"""What the suite needs of a gateway: its program, a configuration for a site, a command.

To add one: write a file like nginx.py and name it in `__init__.py`.
"""

import dataclasses
import pathlib
import signal
import socket
import subprocess
import time
from collections.abc import Callable

from ..load import DEADLINE
from ..ports import Ports

# One attempt may take so much of the deadline, so that three fit in.
TRY = 0.3 * DEADLINE
# Attempts in all.
TRIES = 3
CONNECT = 0.25
# Requests at a time at one server, for gateways that want to be told: so many wait no longer than
# an attempt may take, also at a server that does twenty a second for each of its two workers.
AT_ONCE = 8
START_LIMIT = 20.0
STOP_LIMIT = 10.0


@dataclasses.dataclass(frozen=True)
class Place:
    """A server by name and port of loopback."""

    name: str
    port: int
    # Whether it is in the gateway's own zone.
    near: bool = True


@dataclasses.dataclass(frozen=True)
class Site:
    """What the gateway stands in front of."""

    folder: pathlib.Path
    port: int
    admin: int
    # Interchangeable servers, each with all models.
    first: tuple[Place, ...]
    # Asked when the first are gone.
    backup: Place
    models: tuple[str, ...]
    # Whether clients say in x-priority what matters more (high) and less (low).
    priorities: bool = False

    @property
    def nearest(self) -> tuple[Place, ...]:
        """The first servers in the gateway's own zone."""
        return tuple(place for place in self.first if place.near)

    @property
    def farther(self) -> tuple[Place, ...]:
        """The first servers in another zone."""
        return tuple(place for place in self.first if not place.near)


@dataclasses.dataclass(frozen=True)
class Reload:
    """How a gateway takes another configuration from its file while it runs."""

    # Sent to the process that was started.
    number: signal.Signals = signal.SIGHUP
    # The command line in place of the usual one, where it takes another one.
    command: Callable[[str, pathlib.Path], list[str]] | None = None


@dataclasses.dataclass(frozen=True)
class Gateway:
    """One kind of gateway."""

    name: str
    find: Callable[[], str | None]
    config_name: str
    config: Callable[[Site], str]
    # The command line for (program, configuration file).
    command: Callable[[str, pathlib.Path], list[str]]
    version: tuple[str, ...] = ("--version",)
    # Whether its records explain these answers, for (site, a sample of answers, the faulty ones).
    explain: Callable | None = None
    # None where it cannot.
    reload: Reload | None = None


class Running:
    """A started gateway."""

    def __init__(self, gateway: Gateway, site: Site, program: str, reloads: bool):
        self.gateway = gateway
        self.site = site
        self._config = site.folder / gateway.config_name
        self._config.write_text(gateway.config(site))
        command = gateway.command
        if reloads and gateway.reload and gateway.reload.command:
            command = gateway.reload.command
        self._log = site.folder / f"{gateway.name}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command(program, self._config), stdout=log, stderr=log
            )
        self._wait()

    def reload(self, first: tuple[Place, ...]) -> None:
        """Gives it a configuration with these first servers."""
        site = dataclasses.replace(self.site, first=first)
        self._config.write_text(self.gateway.config(site))
        self._process.send_signal(self.gateway.reload.number)

    def _wait(self) -> None:
        limit = time.monotonic() + START_LIMIT
        while not _listens(self.site.port):
            if self._process.poll() is not None or time.monotonic() > limit:
                words = self._log.read_text(errors="replace")[-2000:]
                self.stop()
                raise RuntimeError(f"{self.gateway.name} does not listen:\n{words}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Ends it, by its own process id."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def start(gateway: Gateway, site: Site, program: str, reloads: bool = False) -> Running:
    """Starts it and returns once it listens; `reloads`: it will get other configurations."""
    return Running(gateway, site, program, reloads)


def version(gateway: Gateway, program: str) -> str:
    """What it calls itself."""
    done = subprocess.run(
        [program, *gateway.version], capture_output=True, text=True, check=False
    )
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines[0].removeprefix(program).strip() if lines else "unknown"


def site(folder: pathlib.Path, ports: Ports, first, backup, models) -> Site:
    """A site on free ports."""
    return Site(folder, ports.take(), ports.take(), tuple(first), backup, tuple(models))


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0

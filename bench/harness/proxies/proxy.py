"""What the harness needs to know of a proxy: its program, its configuration, its command."""

import dataclasses
import pathlib
import subprocess
from collections.abc import Callable

from ..process import Pinned, free_port


@dataclasses.dataclass(frozen=True)
class Proxy:
    """A proxy that can be installed, configured and started."""

    name: str
    # The program's path, or None where it is missing.
    find: Callable[[], str | None]
    # Name of the configuration file, and its text for (folder, own port, backend's port).
    config_name: str
    config: Callable[[pathlib.Path, int, int], str]
    # The command line for (program, configuration file).
    command: Callable[[str, pathlib.Path], list[str]]
    # Arguments that print the version.
    version: tuple[str, ...] = ("--version",)


@dataclasses.dataclass
class Running:
    """A started proxy; without a process it is the backend itself."""

    name: str
    port: int
    version: str
    process: Pinned | None


DIRECT = Proxy("direct", lambda: "", "", lambda *_: "", lambda *_: [])


def start(proxy: Proxy, folder: pathlib.Path, backend: int, core: int) -> Running | None:
    """Starts the proxy on its core before the backend; None where its program is missing."""
    if proxy is DIRECT:
        return Running(proxy.name, backend, "no proxy", None)
    program = proxy.find()
    if not program:
        return None
    port = free_port()
    config = folder / proxy.config_name
    config.write_text(proxy.config(folder, port, backend))
    process = Pinned(
        proxy.name, proxy.command(program, config), core, folder / f"{proxy.name}.log"
    )
    try:
        process.wait_for(port)
    except RuntimeError:
        process.stop()
        raise
    return Running(proxy.name, port, _version(program, proxy.version), process)


def _version(program: str, arguments: tuple[str, ...]) -> str:
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    # Some name the path that they were started by, which is nobody's business.
    return lines[0].removeprefix(program).strip() if lines else "unknown"

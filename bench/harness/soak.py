"""The command bench/soak: does memory stay bounded, and do answers keep coming, while things break?

Three model servers stand behind one gateway. A steady load goes on for all of the time, and on a
timetable servers are killed, frozen, and killed all at once. The gateway's resident memory is read
every second. Memory that grows shows as a last minute above the first ones; warming up does not.
"""

import argparse
import pathlib
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time

from . import load, reloads, report
from .paths import ROOT, SOAK, mainstay_binary
from .process import Pinned, free_port
from .scenario import Scenario, infer_body

DEMO = ROOT / "crates" / "mainstay" / "demo"
DEADLINE_MS = 1000
# What an answer may take beyond its deadline on its way through the load generator, in ms.
LATE_MS = 100
PATH = "/v2/models/digits/infer"

CONFIG = """
listen: {{http: "127.0.0.1:{port}"}}
admin: {{address: "127.0.0.1:{admin}"}}
state-dir: "{folder}"
pools:
  forest:
    breaker: {{consecutive: {consecutive}}}
    endpoints:
{endpoints}
models:
  digits:
    deadline: {deadline}ms
    outputs:
      label: {{datatype: INT64, shape: [-1]}}
      probabilities: {{datatype: FP32, shape: [-1, 10]}}
    chain:
      - pool: forest
      - embedded: {demo}/digits-logistic.onnx
      - default: {{label: -1, probabilities: [{unsure}]}}
"""


class Server:
    """A model server that can be broken and mended; it keeps its port."""

    def __init__(self, number: int, folder: pathlib.Path):
        self.port = free_port()
        self._log = folder / f"server-{number}.log"
        self._process: Pinned | None = None
        self.start()

    def start(self) -> None:
        model = f"digits={DEMO / 'digits-forest.onnx'}"
        command = [str(mainstay_binary()), "model-server", "--model", model,
                   "--listen", f"127.0.0.1:{self.port}"]
        self._process = Pinned("model-server", command, 0, self._log)
        self._process.wait_for(self.port)

    def signal(self, number: int) -> None:
        self._process.signal(number)

    def kill(self) -> None:
        self._process.kill()

    def stop(self) -> None:
        self.signal(signal.SIGCONT)
        self._process.stop()


def main() -> int:
    """Exit code 0 when no answer failed or was late and memory did not grow."""
    options = _options()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="mainstay-soak-"))
    servers: list[Server] = []
    try:
        servers += [Server(number, folder) for number in range(3)]
        gateway, port, admin = _gateway(servers, folder)
        try:
            if options.reloads:
                write = lambda number: _write(servers, folder, port, admin, number)
                return reloads.watch(options, PATH, gateway, port, admin, write)
            return _watch(options, servers, gateway, port, folder)
        finally:
            gateway.stop()
    finally:
        for server in servers:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _write(servers: list[Server], folder: pathlib.Path, port: int, admin: int, number: int):
    """The configuration with this number: 0 has all servers, odd ones have one less."""
    here = servers[: len(servers) - number % 2]
    endpoints = "\n".join(f"      - url: http://127.0.0.1:{server.port}" for server in here)
    config = folder / "mainstay.yaml"
    config.write_text(CONFIG.format(
        port=port, admin=admin, folder=folder, endpoints=endpoints, demo=DEMO,
        deadline=DEADLINE_MS, consecutive=5 + number % 3, unsure=", ".join(["0.1"] * 10),
    ))
    return config


def _gateway(servers: list[Server], folder: pathlib.Path) -> tuple[Pinned, int, int]:
    port, admin = free_port(), free_port()
    config = _write(servers, folder, port, admin, 0)
    command = [str(mainstay_binary()), "serve", "--config", str(config)]
    gateway = Pinned("mainstay", command, 1, folder / "gateway.log")
    gateway.wait_for(port)
    return gateway, port, admin


def _watch(options, servers, gateway, port, folder) -> int:
    seen: list[load.Load] = []
    scenario = Scenario("soak", PATH, infer_body(), "inference")
    asking = threading.Thread(
        target=lambda: seen.append(
            load.at_rate(scenario, port, options.seconds, options.rate, 0, folder)
        )
    )
    memory: list[float] = []
    asking.start()
    began, faults = time.monotonic(), _timetable(servers, options.seconds)
    while asking.is_alive():
        while faults and faults[0][0] <= time.monotonic() - began:
            at, words, act = faults.pop(0)
            print(f"{at:5.0f} s  {gateway.resident_mib():6.1f} MiB  {words}", flush=True)
            act()
        memory.append(gateway.resident_mib())
        time.sleep(1)
    if not seen:
        print("the load generator failed", file=sys.stderr)
        return 1
    return _tell(options, seen[0], memory)


def _timetable(servers: list[Server], seconds: float) -> list:
    """(second, words, what to do), one round of faults every 40 s, over by the end."""

    def all_killed() -> None:
        for server in servers:
            server.kill()

    def all_started() -> None:
        for server in servers:
            server.start()

    faults = []
    for start in range(10, int(seconds) - 30, 40):
        victim = servers[start // 40 % len(servers)]
        faults += [
            (start, "one server killed", victim.kill),
            (start + 5, "and started again", victim.start),
            (start + 12, "one frozen", lambda v=victim: v.signal(signal.SIGSTOP)),
            (start + 17, "and thawed", lambda v=victim: v.signal(signal.SIGCONT)),
            (start + 24, "all killed", all_killed),
            (start + 29, "all started again", all_started),
        ]
    return faults


def _tell(options: argparse.Namespace, seen: load.Load, memory: list[float]) -> int:
    minute = min(60, max(1, len(memory) // 4))
    early = statistics.median(memory[minute : 2 * minute] or memory)
    late = statistics.median(memory[-minute:])
    grown = late > early * 1.1 + 2
    slow = seen.slowest_us / 1000
    faulty = seen.errors > 0 or slow > DEADLINE_MS + LATE_MS
    text = (
        f"{report.machine()}. {options.seconds:.0f} s at {options.rate:.0f} requests a second: "
        f"{seen.requests:,} requests, {seen.errors} errors, p99 {seen.p99_us / 1000:.1f} ms, "
        f"slowest {slow:.0f} ms (deadline {DEADLINE_MS} ms). Resident memory of the gateway: "
        f"{early:.1f} MiB early, {late:.1f} MiB at the end, {max(memory):.1f} MiB at most."
    )
    print(text)
    if options.write:
        SOAK.write_text(
            "# Under load while servers are killed and frozen\n\nGenerated by `bench/soak`.\n\n"
            + text + "\n"
        )
    return int(grown or faulty)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long (default 600)")
    parser.add_argument("--reloads", type=int, default=0,
                        help="reload so often instead, ten times a second (bench/RELOADS.md)")
    parser.add_argument("--rate", type=float, default=300, help="requests a second (default 300)")
    parser.add_argument("--no-write", dest="write", action="store_false",
                        help="do not keep the result in bench/SOAK.md")
    return parser.parse_args()

"""The command bench/instructions: instructions per request in user space, by callgrind.

Times differ from machine to machine and from run to run; a count of instructions hardly does, so
later changes are held against it. The proxy runs twice under valgrind, once for FEW and once for
MANY requests over one connection; the difference, divided by the difference of the counts, leaves
out the start, the end and the configuration. What runs by the clock (probes) stays in, and is
small: the spread over the repeats shows it.
"""

import argparse
import http.client
import json
import pathlib
import re
import shutil
import statistics
import sys
import tempfile

from . import backend
from .paths import INSTRUCTIONS
from .process import Pinned, free_port
from .proxies import ALL, DIRECT, Proxy
from .scenario import SCENARIOS, Scenario

FEW, MANY = 2000, 4000
CORE = 1
# nginx is missing: callgrind loses the counts of a worker that was forked without exec.
COUNTABLE = ("mainstay", "haproxy", "envoy")


def main() -> int:
    """Counts for each proxy and scenario, prints the table and keeps it."""
    options = _options()
    if not shutil.which("valgrind"):
        print("valgrind is not installed (Debian package valgrind)", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="mainstay-instructions-") as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        server, port = backend.start(folder, 0)
        try:
            found = [
                count
                for proxy in _chosen(options.only)
                for count in _counts(proxy, folder, port, options.repeats)
            ]
        finally:
            server.stop()
    if options.write:
        INSTRUCTIONS.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def _chosen(names: list[str]) -> list[Proxy]:
    chosen = [proxy for proxy in ALL if proxy.name in names and proxy is not DIRECT]
    for proxy in chosen:
        if not proxy.find():
            print(f"left out: {proxy.name} is not there", file=sys.stderr)
    return [proxy for proxy in chosen if proxy.find()]


def _counts(proxy: Proxy, folder: pathlib.Path, port: int, repeats: int) -> list[dict]:
    found = []
    for scenario in SCENARIOS:
        each = [_once(proxy, scenario, folder, port) for _ in range(repeats)]
        middle = statistics.median(each)
        spread = (max(each) - min(each)) / middle
        print(f"{proxy.name:10} {scenario.name:5} {middle:10,.0f} instructions/request"
              f"  (spread {spread:.1%} over {repeats})", flush=True)
        found.append({"proxy": proxy.name, "scenario": scenario.name,
                      "instructions": round(middle), "spread": round(spread, 4)})
    return found


def _once(proxy: Proxy, scenario: Scenario, folder: pathlib.Path, port: int) -> float:
    few = _instructions(proxy, scenario, folder, port, FEW)
    many = _instructions(proxy, scenario, folder, port, MANY)
    return (many - few) / (MANY - FEW)


def _instructions(
    proxy: Proxy, scenario: Scenario, folder: pathlib.Path, upstream: int, requests: int
) -> int:
    """All instructions of one life of the proxy with this many requests."""
    own = free_port()
    config = folder / proxy.config_name
    config.write_text(proxy.config(folder, own, upstream))
    for old in folder.glob("callgrind.*"):
        old.unlink()
    valgrind = ["valgrind", "--tool=callgrind", "--trace-children=yes",
                f"--callgrind-out-file={folder}/callgrind.%p"]
    command = [*valgrind, *proxy.command(proxy.find() or "", config)]
    process = Pinned(proxy.name, command, CORE, folder / "callgrind-log")
    try:
        process.wait_for(own)
        _send(scenario, own, requests)
    finally:
        process.stop()
    files = folder.glob("callgrind.*")
    return sum(_total(file) for file in files)


def _send(scenario: Scenario, port: int, requests: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    method = "POST" if scenario.body else "GET"
    headers = {"content-type": "application/json"} if scenario.body else {}
    for _ in range(requests):
        connection.request(method, scenario.path, scenario.body, headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"status {answer.status} from {scenario.path}")
    connection.close()


def _total(file: pathlib.Path) -> int:
    found = re.search(r"^(?:totals|summary): (\d+)", file.read_text(), re.MULTILINE)
    return int(found.group(1)) if found else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/instructions", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=COUNTABLE, default=["mainstay"],
                        help="proxies (default mainstay)")
    parser.add_argument("--repeats", type=int, default=3, help="repeats (default 3)")
    parser.add_argument("--no-write", dest="write", action="store_false",
                        help="do not keep the result in bench/instructions.json")
    return parser.parse_args()

"""The command: install, start, measure, report, stop."""

import argparse
import pathlib
import shutil
import signal
import sys
import tempfile

from . import backend, install, measure, proxies, report, scenario, summary

MEMORY = pathlib.Path("/dev/shm")


def main() -> int:
    """Exit code 0 when every answer was right, 1 when a proxy gave errors or none could run."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    install.packages()
    folder = pathlib.Path(
        tempfile.mkdtemp(prefix="mainstay-bench-", dir=MEMORY if MEMORY.is_dir() else None)
    )
    # nginx's workers drop their rights and still write their temporary files here.
    folder.chmod(0o755)
    try:
        return _measure(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measure(options: argparse.Namespace, folder: pathlib.Path) -> int:
    scenarios = scenario.GRPC if options.grpc else scenario.SCENARIOS
    plan = measure.Plan(options.rounds, options.seconds, options.load_core, folder, scenarios)
    begin = backend.start_grpc if options.grpc else backend.start
    server, port = begin(folder, options.load_core)
    running: list[proxies.Running] = []
    try:
        _start(options, folder, port, running)
        rates = measure.calibrate(plan, running)
        samples = measure.rounds(plan, running, rates, print)
        rows = summary.rows(samples)
        memory = {p.name: p.process.resident_mib() for p in running if p.process}
    finally:
        for process in [p.process for p in running if p.process] + [server]:
            process.stop()
    if options.write:
        report.write(plan, samples, rows, {p.name: p.version for p in running}, rates)
    return _tell(rows, memory)


def _start(options: argparse.Namespace, folder: pathlib.Path, port: int, running: list) -> None:
    for proxy in proxies.ALL:
        if options.only and proxy.name not in options.only:
            continue
        known = proxies.GRPC.get(proxy.name) if options.grpc else proxy
        if not known:
            continue
        started = proxies.start(known, folder, port, options.proxy_core)
        if started:
            running.append(started)
        else:
            print(f"left out: {proxy.name} is not there", file=sys.stderr)


def _tell(rows: list[summary.Row], memory: dict[str, float]) -> int:
    for key in dict.fromkeys((row.scenario, row.mode) for row in rows):
        print(f"\n{key[0]}, {key[1]}")
        print(report.table([row for row in rows if (row.scenario, row.mode) == key]))
    held = ", ".join(f"{name} {mib:.0f} MiB" for name, mib in memory.items())
    print(f"\nresident memory at the end: {held}")
    errors = sum(row.errors for row in rows)
    if errors:
        print(f"{errors} answers were errors: these numbers are no measurement", file=sys.stderr)
    return 1 if errors else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="rounds (default 10)")
    parser.add_argument("--seconds", type=float, default=4, help="length of one sample (default 4)")
    parser.add_argument("--quick", action="store_true",
                        help="a look: 1 round of 1 s, nothing written")
    parser.add_argument("--grpc", action="store_true",
                        help="gRPC instead, before those that speak it; nothing written")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these (direct, nginx, ...)")
    parser.add_argument("--proxy-core", type=int, default=1, help="core of the proxy (default 1)")
    parser.add_argument("--load-core", type=int, default=0,
                        help="core of load and backend (default 0)")
    options = parser.parse_args()
    options.write = not options.quick and not options.grpc
    if options.quick:
        options.rounds, options.seconds = 1, 1
    return options

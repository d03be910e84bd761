"""The command: one process for each gateway, side by side; results are written after each row."""

import argparse
import asyncio
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from . import gateways
from .gateways import gateway as adapters
from .judge import Verdict, judge
from .ports import SIDES, Ports
from .report import Results
from .rows import BY_NAME, QUICK, ROWS, Row
from .scene import Pace, play

ROOT = pathlib.Path(__file__).resolve().parents[2]
# A row that goes wrong for no fault of the gateway (a port that was lost) gets a second try; with
# --quick also one that did not pass, since there it is to say what is broken, not what is slow.
TRIES = 2
FAST = Pace(warm=1.5, fault=4.0, recover=0.0)
# What a child says to its parent begins so.
MESSAGE = "verdict "
# Nothing of a row takes longer than this beside its fault.
ROW_LIMIT = 90.0


def main() -> int:
    """Exit code 0 when all rows of Mainstay passed, 1 when one did not or could not be run."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if options.child is not None:
        return _child(options)
    if options.report:
        Results().write()
        return 0
    return _parent(options)


def _parent(options: argparse.Namespace) -> int:
    results = Results()
    names = list(gateways.ALL) if "all" in options.gateway else options.gateway
    rows = {name: _wanted(options, name, results) for name in names}
    began = time.monotonic()
    children = [
        _spawn(options, name, rows[name], side + os.getpid()) for side, name in enumerate(names)
        if rows[name]
    ]
    left = sum(len(wanted) for wanted in rows.values())
    verdicts = asyncio.run(_collect(children, results, options.write, left, began))
    lost = left - len(verdicts)
    _tell(verdicts, lost)
    ours = [verdict for verdict in verdicts if verdict.gateway == "mainstay"]
    return int(lost > 0 or not all(verdict.passed for verdict in ours))


def _wanted(options: argparse.Namespace, gateway: str, results: Results) -> list[str]:
    names = options.row or (QUICK if options.quick else [row.name for row in ROWS])
    if gateways.ALL[gateway].reload is None:
        names = [name for name in names if not BY_NAME[name].reloads]
    return [name for name in names if not (options.missing and results.has(gateway, name))]


def _spawn(
    options: argparse.Namespace, gateway: str, rows: list[str], side: int
) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "conformance" / "run"), "--child", str(side % SIDES),
               "--gateway", gateway, "--row", *rows]
    command += ["--quick"] if options.quick else []
    command += ["--cold-load", str(options.cold_load)]
    for name in ("binary", "faults", "keep"):
        if getattr(options, name):
            command += [f"--{name}", str(getattr(options, name))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


async def _collect(
    children: list[subprocess.Popen], results: Results, write: bool, left: int, began: float
) -> list[Verdict]:
    verdicts: list[Verdict] = []

    async def follow(child: subprocess.Popen) -> None:
        while line := await asyncio.to_thread(child.stdout.readline):
            if not line.startswith(MESSAGE):
                print(line, end="", file=sys.stderr)
                continue
            message = json.loads(line.removeprefix(MESSAGE))
            verdict = Verdict(**{**message["verdict"], "because": tuple(message["verdict"]["because"])})
            verdicts.append(verdict)
            if write:
                results.add(verdict, message["version"])
            _progress(verdict, len(verdicts), left, time.monotonic() - began)

    try:
        await asyncio.gather(*(follow(child) for child in children))
    finally:
        for child in children:
            if child.poll() is None:
                child.terminate()
            child.wait()
    return verdicts


def _progress(verdict: Verdict, done: int, left: int, took: float) -> None:
    mark = "pass" if verdict.passed else "FAIL"
    print(f"[{took:5.0f} s {done:3}/{left}] {mark} {verdict.gateway:8} {verdict.fault:22} "
          f"{verdict.client_saw}", flush=True)
    for reason in verdict.because:
        print(f"{'':24}{reason}", flush=True)


def _tell(verdicts: list[Verdict], lost: int) -> None:
    print()
    for name in dict.fromkeys(verdict.gateway for verdict in verdicts):
        own = [verdict for verdict in verdicts if verdict.gateway == name]
        print(f"{name}: {sum(v.passed for v in own)} passed, "
              f"{sum(not v.passed for v in own)} failed")
    if lost:
        print(f"{lost} rows could not be run", file=sys.stderr)


def _child(options: argparse.Namespace) -> int:
    name = options.gateway[0]
    gateway = gateways.ALL[name]
    if options.binary and name == "mainstay":
        os.environ["MAINSTAY_BIN"] = str(options.binary)
    binary, faults = gateway.find(), _faults(options)
    if not binary or not faults:
        print(f"left out: {name if not binary else 'mainstay-faults'} is not there",
              file=sys.stderr)
        return 1
    ports, version = Ports(options.child), adapters.version(gateway, binary)
    for row in options.row:
        verdict = _row(_timed(BY_NAME[row], options), gateway, binary, faults, ports, options)
        if verdict:
            message = {"verdict": dataclasses.asdict(verdict), "version": version}
            print(MESSAGE + json.dumps(message), flush=True)
    return 0


def _timed(row: Row, options: argparse.Namespace) -> Row:
    return dataclasses.replace(row, lasts=options.cold_load) if row.name == "cold-load" else row


def _row(row: Row, gateway, binary, faults, ports, options) -> Verdict | None:
    verdict = None
    for _ in range(TRIES):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="mainstay-conformance-", dir=options.keep))
        # nginx's workers drop their rights and still write their temporary files here.
        folder.chmod(0o755)
        pace = FAST if options.quick else Pace()
        try:
            drill = play(row, gateway, binary, faults, folder, ports, pace)
            limit = row.lasts + ROW_LIMIT
            evidence = asyncio.run(asyncio.wait_for(drill, limit))
            verdict = judge(gateway.name, _bare(evidence) if options.quick else evidence)
            if verdict.passed or not options.quick:
                break
        except (RuntimeError, OSError, TimeoutError) as error:
            print(f"{gateway.name} {row.name}: {error or 'took too long'}", file=sys.stderr)
        finally:
            if not options.keep:
                shutil.rmtree(folder, ignore_errors=True)
    return verdict


def _bare(evidence):
    """Without the wait for a server's return."""
    criteria = dataclasses.replace(evidence.row.criteria, recover=None)
    return dataclasses.replace(evidence, row=dataclasses.replace(evidence.row, criteria=criteria))


def _faults(options: argparse.Namespace) -> pathlib.Path | None:
    if options.faults:
        return options.faults
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = (target / profile / "mainstay-faults" for profile in ("release", "debug"))
    return next((path for path in built if path.exists()), None)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="conformance/run", description=__doc__)
    parser.add_argument("--gateway", nargs="+", default=["mainstay"],
                        choices=[*gateways.ALL, "all"], help="which ones (default mainstay)")
    parser.add_argument("--row", nargs="+", choices=list(BY_NAME), metavar="NAME",
                        help=f"only these: {' '.join(BY_NAME)}")
    parser.add_argument("--missing", action="store_true",
                        help="only rows that results.json does not have yet")
    parser.add_argument("--quick", action="store_true",
                        help=f"{' '.join(QUICK)}, shortened, nothing written")
    parser.add_argument("--binary", type=pathlib.Path,
                        help="Mainstay's program (default target/release, then debug)")
    parser.add_argument("--faults", type=pathlib.Path, help="the program mainstay-faults")
    parser.add_argument("--cold-load", type=float, default=20.0, metavar="SECONDS",
                        help="how long the cold load takes (default 20)")
    parser.add_argument("--keep", type=pathlib.Path, metavar="FOLDER",
                        help="keep configurations, logs and journals there")
    parser.add_argument("--report", action="store_true",
                        help="run nothing, write RESULTS.md from what is known")
    parser.add_argument("--dry", action="store_true", help="write nothing")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.write = not options.quick and not options.dry
    return options

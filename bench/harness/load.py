"""Load: wrk at saturation, h2load at a fixed rate; both give the same numbers back.

wrk sends as fast as answers come and cannot hold a rate; h2load can (`--rps`) and writes each
request's time into a log, from which the percentiles are taken.
"""

import dataclasses
import json
import pathlib
import subprocess

from .scenario import Scenario

CONNECTIONS = 32
GRPC_CONNECTIONS = 4
GRACE = 30

WRK_SCRIPT = """
wrk.method = "{method}"
wrk.headers["Content-Type"] = "application/json"
{body}
function done(summary, latency, requests)
  io.write(string.format(
    'RESULT {{"requests":%d,"micros":%d,"connect":%d,"read":%d,"write":%d,"status":%d,' ..
    '"timeout":%d,"p50":%d,"p99":%d,"slowest":%d}}\\n',
    summary.requests, summary.duration, summary.errors.connect, summary.errors.read,
    summary.errors.write, summary.errors.status, summary.errors.timeout,
    latency:percentile(50), latency:percentile(99), latency.max))
end
"""


@dataclasses.dataclass(frozen=True)
class Load:
    """What one run of a load generator saw."""

    requests: int
    seconds: float
    # Answers that were not 2xx (wrk: 400 and above), and connections that failed.
    errors: int
    p50_us: float
    p99_us: float
    slowest_us: float

    @property
    def per_second(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def saturate(scenario: Scenario, port: int, seconds: float, core: int, folder: pathlib.Path):
    """As many requests as CONNECTIONS connections get through."""
    if scenario.frame:
        return _h2load(scenario, port, seconds, None, core, folder)
    script = folder / f"{scenario.name}.lua"
    body = f"wrk.body = [[{scenario.body}]]" if scenario.body else ""
    method = "POST" if scenario.body else "GET"
    script.write_text(WRK_SCRIPT.format(method=method, body=body))
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{_whole(seconds)}s", "-s", str(script)]
    output = _run([*command, _url(scenario, port)], core, seconds)
    line = next(line for line in output.splitlines() if line.startswith("RESULT "))
    seen = json.loads(line.removeprefix("RESULT "))
    errors = sum(seen[kind] for kind in ("connect", "read", "write", "status", "timeout"))
    times = (seen["p50"], seen["p99"], seen["slowest"])
    return Load(seen["requests"], seen["micros"] / 1e6, errors, *times)


def at_rate(
    scenario: Scenario, port: int, seconds: float, rate: float, core: int, folder: pathlib.Path
):
    """`rate` requests a second over CONNECTIONS connections, or as many of them as are answered."""
    if scenario.frame:
        return _h2load(scenario, port, seconds, rate, core, folder)
    log = folder / "h2load.log"
    log.unlink(missing_ok=True)
    command = ["h2load", "--h1", "-t1", f"-c{CONNECTIONS}", f"-D{_whole(seconds)}",
               f"--rps={rate / CONNECTIONS:.3f}", f"--log-file={log}"]
    if scenario.body:
        data = folder / f"{scenario.name}.body"
        data.write_text(scenario.body)
        command += ["-d", str(data), "-H", "content-type: application/json"]
    _run([*command, _url(scenario, port)], core, seconds)
    return _read_log(log, _whole(seconds))


def _h2load(
    scenario: Scenario, port: int, seconds: float, rate: float | None, core: int,
    folder: pathlib.Path,
):
    """gRPC over a few connections with as many streams as there are connections otherwise."""
    log, data = folder / "h2load.log", folder / f"{scenario.name}.frame"
    log.unlink(missing_ok=True)
    data.write_bytes(scenario.frame)
    command = ["h2load", "-t1", f"-c{GRPC_CONNECTIONS}", f"-m{CONNECTIONS // GRPC_CONNECTIONS}",
               f"-D{_whole(seconds)}", f"--log-file={log}", "-d", str(data),
               "-H", "content-type: application/grpc", "-H", "te: trailers"]
    if rate:
        command.append(f"--rps={rate / GRPC_CONNECTIONS:.3f}")
    _run([*command, _url(scenario, port)], core, seconds)
    return _read_log(log, _whole(seconds))


def _read_log(log: pathlib.Path, seconds: float) -> Load:
    rows = [line.split("\t") for line in log.read_text().splitlines()]
    times = sorted(int(row[2]) for row in rows if row[1].startswith("2"))
    if not times:
        return Load(0, seconds, len(rows), *[float("nan")] * 3)
    errors = len(rows) - len(times)
    middle, late = _percentile(times, 50), _percentile(times, 99)
    return Load(len(rows), seconds, errors, middle, late, float(times[-1]))


def _percentile(ordered: list[int], percent: int) -> float:
    return float(ordered[min(len(ordered) - 1, len(ordered) * percent // 100)])


def _whole(seconds: float) -> int:
    """Both generators take whole seconds."""
    return max(1, round(seconds))


def _url(scenario: Scenario, port: int) -> str:
    return f"http://127.0.0.1:{port}{scenario.path}"


def _run(command: list[str], core: int, seconds: float) -> str:
    pinned = ["taskset", "-c", str(core), *command]
    done = subprocess.run(
        pinned, capture_output=True, text=True, check=True, timeout=seconds + GRACE
    )
    return done.stdout

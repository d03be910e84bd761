"""The command bench/scale: what does the control side cost with many endpoints?

Every endpoint is an address of its own (127.x.y.z), and one nginx answers for all of them, so that
what is measured is the gateway and not its servers. No client asks anything: all that is used is
used by probes, verdicts and housekeeping. nginx notes when it was asked under which address, which
shows how the first probes spread.
"""

import argparse
import collections
import http.client
import json
import pathlib
import shutil
import statistics
import sys
import tempfile
import time

from . import report
from .install import program
from .paths import SCALE, mainstay_binary
from .process import Pinned, free_port

# The goals: shares of one core, and MiB.
MOST_CPU = 0.25
MOST_MEMORY = 500
# Seconds; a debug build is slow.
KNOWN_LIMIT = 120.0
REPEATS = 5

SERVER = """
daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
pid {folder}/server.pid;
error_log {folder}/server-error.log error;
events {{ worker_connections 8192; }}
http {{
    log_format asked '$msec $server_addr';
    access_log {folder}/asked.log asked buffer=64k flush=200ms;
    default_type application/json;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 0.0.0.0:{port} backlog=16384;
        location / {{ return 200 '{{}}'; }}
    }}
}}
"""


def main() -> int:
    """Exit code 0 when every endpoint became ready and the goals are kept."""
    options = _options()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="mainstay-scale-"))
    folder.chmod(0o711)
    try:
        server, port = _server(folder)
        try:
            return _run(options, folder, port)
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _server(folder: pathlib.Path) -> tuple[Pinned, int]:
    port = free_port()
    config = folder / "server.conf"
    config.write_text(SERVER.format(folder=folder, port=port))
    command = [program("nginx") or "nginx", "-c", str(config), "-e", str(folder / "server.err")]
    server = Pinned("server", command, 0, folder / "server.log")
    server.wait_for(port)
    return server, port


class Gateway:
    """The gateway with its admin listener."""

    def __init__(self, folder: pathlib.Path, text: str, port: int, admin: int):
        self._admin = admin
        self._folder = folder
        self.file = folder / "mainstay.yaml"
        self.file.write_text(text)
        command = [str(mainstay_binary()), "serve", "--config", str(self.file)]
        self.began, began = time.time(), time.monotonic()
        self.process = Pinned("mainstay", command, 1, folder / "gateway.log")
        self.process.wait_for(port)
        self.started = time.monotonic() - began

    def ask(self, method: str, path: str) -> tuple[bytes, float]:
        """An answer of the admin listener, and the seconds that it took."""
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self._admin, timeout=60)
        headers = {}
        if method == "POST":
            token = (self._folder / "admin-token").read_text().strip()
            headers["Authorization"] = f"Bearer {token}"
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {body[:500]}")
        return body, time.monotonic() - began

    def ready(self) -> int:
        """Endpoints that are known to be ready."""
        pools = json.loads(self.ask("GET", "/api/status")[0])["pools"]
        endpoints = [endpoint for pool in pools for endpoint in pool["endpoints"]]
        return sum(
            all(model["verdict"] == "ready" for model in endpoint["models"])
            for endpoint in endpoints
        )


def _run(options: argparse.Namespace, folder: pathlib.Path, server: int) -> int:
    port, admin = free_port(), free_port()
    ports = (port, admin, server)
    gateway = Gateway(folder, _config(options, folder, ports), port, admin)
    try:
        return _measure(options, folder, gateway, ports)
    except Exception:
        print((folder / "gateway.log").read_text(errors="replace")[-3000:], file=sys.stderr)
        raise
    finally:
        gateway.process.stop()


def _measure(options, folder, gateway: Gateway, ports) -> int:
    many = options.pools * options.endpoints
    known = _until_known(gateway, many)
    time.sleep(options.settle)
    before, began, rest = gateway.process.cpu_seconds(), time.monotonic(), time.time()
    threads = _threads(gateway)
    time.sleep(options.seconds)
    seconds = time.monotonic() - began
    cpu = (gateway.process.cpu_seconds() - before) / seconds
    busiest = {
        name: (used - threads.get(name, 0)) / seconds for name, used in _threads(gateway).items()
    }
    memory = gateway.process.resident_mib()
    status = [gateway.ask("GET", "/api/status") for _ in range(REPEATS)]
    metrics = [gateway.ask("GET", "/metrics") for _ in range(REPEATS)]
    reloads = []
    for number in range(REPEATS):
        gateway.file.write_text(_config(options, folder, ports, weight=number + 2))
        reloads.append(gateway.ask("POST", "/api/reload")[1])
    after = gateway.process.resident_mib()
    # What the reloads and the pages cost the servers' verdicts would show by now.
    time.sleep(5)
    still = gateway.ready()
    spread = _spread(folder / "asked.log", (rest, rest + seconds))
    figures = [
        ("from the start to the first accepted connection", f"{gateway.started:.2f} s"),
        ("from the start until every endpoint is known to be ready", f"{known:.1f} s"),
        ("first probes: over", f"{spread.seconds:.2f} s"),
        ("first probes: most in one tenth of a second",
         f"{spread.most:,} of {spread.asked:,} ({spread.most / max(1, spread.asked):.1%})"),
        ("probes a second at rest", f"{spread.rate:,.0f}"),
        ("processor at rest, shares of one core", f"{cpu:.3f}"),
        ("of these, by thread", ", ".join(
            f"{name} {share:.3f}" for name, share in
            sorted(busiest.items(), key=lambda it: -it[1]) if share >= 0.001)),
        ("resident memory at rest", f"{memory:.0f} MiB"),
        (f"reload that changes one pool, median of {REPEATS}", _ms(reloads)),
        (f"resident memory after {REPEATS} reloads", f"{after:.0f} MiB"),
        (f"`/api/status`, median of {REPEATS}",
         f"{_ms([it[1] for it in status])}, {len(status[0][0]) / 2**20:.1f} MiB"),
        (f"`/metrics`, median of {REPEATS}",
         f"{_ms([it[1] for it in metrics])}, {len(metrics[0][0]) / 2**20:.1f} MiB"),
    ]
    kept = cpu <= MOST_CPU and memory <= MOST_MEMORY and still == many
    _tell(options, figures, kept, still, many)
    return int(not kept)


def _until_known(gateway: Gateway, many: int) -> float:
    """Seconds since the start until every endpoint is known to be ready."""
    while (ready := gateway.ready()) < many:
        if time.time() - gateway.began > KNOWN_LIMIT:
            raise RuntimeError(f"{ready} of {many} endpoints are ready")
        time.sleep(0.25)
    return time.time() - gateway.began


def _threads(gateway: Gateway) -> dict[str, float]:
    """CPU seconds by the threads' names, those of one kind together."""
    used: dict[str, float] = collections.defaultdict(float)
    for task in pathlib.Path(f"/proc/{gateway.process.pid}/task").iterdir():
        try:
            name = (task / "comm").read_text().strip().rstrip("0123456789-")
            used[name] += int((task / "schedstat").read_text().split()[0]) / 1e9
        except OSError:
            continue
    return used


Spread = collections.namedtuple("Spread", "asked seconds most rate")


def _spread(log: pathlib.Path, rest: tuple[float, float]) -> Spread:
    """How the first probe of each address spread, and how many there were a second at rest."""
    first: dict[str, float] = {}
    times = []
    for line in log.read_text().splitlines():
        at, _, address = line.partition(" ")
        if not address.startswith("127.") or address == "127.0.0.1":
            continue
        times.append(float(at))
        first.setdefault(address, float(at))
    if not first:
        return Spread(0, 0.0, 0, 0.0)
    begin = min(first.values())
    tenths = collections.Counter(int((at - begin) * 10) for at in first.values())
    rested = sum(rest[0] <= at <= rest[1] for at in times)
    rate = rested / (rest[1] - rest[0])
    return Spread(len(first), max(first.values()) - begin, max(tenths.values()), rate)


def _config(options, folder: pathlib.Path, ports, weight: int = 1) -> str:
    """Pools of endpoints with an address each; `weight` is that of the first one."""
    port, admin, server = ports
    lines = [
        f'listen: {{http: "127.0.0.1:{port}"}}',
        f'admin: {{address: "127.0.0.1:{admin}"}}',
        f'state-dir: "{folder}"',
        "pools:",
    ]
    number = 0
    for pool in range(options.pools):
        lines += [f"  p{pool}:", "    endpoints:"]
        for _ in range(options.endpoints):
            number += 1
            address = f"127.{1 + number // 62500}.{number // 250 % 250}.{number % 250 + 1}"
            heavy = f", weight: {weight}" if number == 1 and weight > 1 else ""
            lines.append(f"      - {{url: http://{address}:{server}{heavy}}}")
    lines.append("models:")
    lines += [f"  m{pool}: {{chain: [{{pool: p{pool}}}]}}" for pool in range(options.pools)]
    return "\n".join(lines) + "\n"


def _ms(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.0f} ms"


def _tell(options, figures, kept: bool, still: int, many: int) -> None:
    rows = "\n".join(f"| {name} | {figure} |" for name, figure in figures)
    goal = f"at most {MOST_CPU} of a core and {MOST_MEMORY} MiB at rest"
    text = (
        f"{report.machine()}. {options.pools:,} pools with {options.endpoints} endpoints each, "
        f"{many:,} endpoints with one model; one worker; every default on (each endpoint is probed "
        f"every 2 s over a connection of its own); {options.seconds:.0f} s at rest.\n\n"
        f"| | |\n|---|---|\n{rows}\n\n"
        f"The goal, {goal}, is {'reached' if kept else 'missed'}. After the reloads "
        f"{still:,} of {many:,} endpoints were ready.\n"
    )
    print(text)
    if options.write:
        command = f"bench/scale --pools {options.pools} --endpoints {options.endpoints}"
        SCALE.write_text(f"# With many endpoints\n\nGenerated by `{command}`.\n\n{text}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/scale", description=__doc__)
    parser.add_argument("--pools", type=int, default=500, help="default 500")
    parser.add_argument("--endpoints", type=int, default=20, help="of each pool (default 20)")
    parser.add_argument("--seconds", type=float, default=30, help="at rest (default 30)")
    parser.add_argument("--settle", type=float, default=10, help="before that (default 10)")
    parser.add_argument("--no-write", dest="write", action="store_false",
                        help="do not keep the result in bench/SCALE.md")
    return parser.parse_args()

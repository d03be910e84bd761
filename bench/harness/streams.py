"""Streams of a language model through each proxy: what one costs, and how late its first token is.

One language model (`mainstay-faults`, a real process) speaks a word every few milliseconds. The
same clients read the same streams from it directly and through each proxy, in rounds whose order
is reversed each time. What is compared is the proxy's own CPU time for a stream, and how much
later the first content comes than without it; a proxy is never driven to saturation, since the
client, in Python, would be first.
"""

import argparse
import asyncio
import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import venv

from .install import envoy
from .paths import BENCH, CACHE, ROOT, mainstay_binary
from .process import Pinned, free_port

RESULTS = BENCH / "STREAMS.md"
LITELLM = "litellm[proxy]"
# What LiteLLM needs before it serves; it takes a quarter of a minute on the test machines.
LITELLM_LIMIT = 120
BODY = json.dumps(
    {
        "model": "counter",
        "stream": True,
        "max_tokens": 50,
        "messages": [{"role": "user", "content": "count " * 50}],
    }
).encode()


@dataclasses.dataclass
class Round:
    """One proxy once."""

    streams: int
    failed: int
    seconds: float
    cpu: float
    first_ms: list[float]


def mainstay(folder: pathlib.Path, port: int, backend: int) -> list[str]:
    """The gateway with nothing but defaults, one worker."""
    config = folder / "mainstay.yaml"
    config.write_text(
        f"""
listen: {{http: "127.0.0.1:{port}"}}
admin: {{address: "127.0.0.1:{free_port()}"}}
state-dir: "{folder / 'state'}"
workers: 1
pools: {{p: {{protocol: openai, endpoints: ["http://127.0.0.1:{backend}"]}}}}
models: {{counter: {{deadline: 60s, chain: [{{pool: p}}]}}}}
"""
    )
    (folder / "state").mkdir()
    return [str(mainstay_binary()), "serve", "--config", str(config)]


def envoy_proxy(folder: pathlib.Path, port: int, backend: int) -> list[str]:
    """Envoy as the benchmark of requests has it, with no limit on a stream's whole time."""
    from .proxies import envoy as proxy

    config = json.loads(proxy._config(folder, port, backend))
    text = json.dumps(config).replace('"timeout": "10s"', '"timeout": "0s"')
    text = text.replace("/v2/health/ready", "/health")
    file = folder / "envoy.json"
    file.write_text(text)
    return proxy._command(envoy(), file)


def litellm_program() -> pathlib.Path | None:
    """LiteLLM's proxy in an environment of its own; installing it takes minutes."""
    folder = CACHE / "litellm"
    program = folder / "bin" / "litellm"
    if not program.exists():
        venv.create(folder, with_pip=True)
        install = [folder / "bin" / "pip", "install", "-q", LITELLM]
        if subprocess.run(install, check=False).returncode != 0:
            print(f"could not install {LITELLM} from PyPI", file=sys.stderr)
    return program if program.exists() else None


def litellm(folder: pathlib.Path, port: int, backend: int) -> list[str]:
    """LiteLLM with one model, its logs off."""
    model = {
        "model_name": "counter",
        "litellm_params": {
            "model": "openai/counter",
            "api_base": f"http://127.0.0.1:{backend}/v1",
            "api_key": "none",
        },
    }
    config = folder / "litellm.yaml"
    config.write_text(json.dumps({"model_list": [model]}))
    os.environ["LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"] = "true"
    return [str(litellm_program()), "--config", str(config), "--port", str(port), "--host",
            "127.0.0.1", "--num_workers", "1"]


PROXIES = {"mainstay": mainstay, "envoy": envoy_proxy, "litellm": litellm}


async def read_stream(port: int) -> float | None:
    """Reads one stream to its end; milliseconds to its first content, `None` if it was not whole."""
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n"
            f"content-type: application/json\r\ncontent-length: {len(BODY)}\r\n\r\n"
        )
        writer.write(head.encode() + BODY)
        first, done = None, False
        tail = b""
        while part := await reader.read(65536):
            tail = tail[-64:] + part
            if first is None and b'"content":"1' in tail.replace(b'": "', b'":"'):
                first = (time.perf_counter() - began) * 1e3
            done = done or b"[DONE]" in tail
        return first if done else None
    except OSError:
        return None
    finally:
        writer.close()


async def read_many(port: int, clients: int, seconds: float) -> tuple[list[float], int]:
    """So many clients, one stream after the other, for so long."""
    until = time.perf_counter() + seconds
    firsts, failed = [], 0

    async def client() -> None:
        nonlocal failed
        while time.perf_counter() < until:
            first = await read_stream(port)
            if first is None:
                failed += 1
            else:
                firsts.append(first)

    await asyncio.gather(*(client() for _ in range(clients)))
    return firsts, failed


def measure(name: str, process: Pinned | None, port: int, plan: argparse.Namespace) -> Round:
    """One round at one port."""
    before = process.cpu_seconds() if process else 0.0
    began = time.perf_counter()
    firsts, failed = asyncio.run(read_many(port, plan.clients, plan.seconds))
    seconds = time.perf_counter() - began
    cpu = process.cpu_seconds() - before if process else 0.0
    print(f"  {name}: {len(firsts)} streams, {failed} failed, {cpu:.2f} CPU seconds", flush=True)
    return Round(len(firsts), failed, seconds, cpu, firsts)


def table(rounds: dict[str, list[Round]], plan: argparse.Namespace) -> str:
    """What was measured, in words of the report."""
    direct = statistics.median(ms for it in rounds["direct"] for ms in it.first_ms)
    lines = [
        "# Streams of a language model through proxies",
        "",
        f"{plan.clients} clients, {plan.rounds} rounds of {plan.seconds:.0f} s; streams of 50 words, "
        f"one every {plan.pause}; made by `bench/streams`.",
        "",
        "| | streams | failed | streams a CPU second | first content, added, median ms | p99 ms |",
        "|---|---|---|---|---|---|",
    ]
    for name, each in rounds.items():
        firsts = sorted(ms for it in each for ms in it.first_ms)
        streams, failed = sum(it.streams for it in each), sum(it.failed for it in each)
        cpu = sum(it.cpu for it in each)
        if not firsts:
            lines.append(f"| {name} | 0 | {failed} | | | |")
            continue
        p99 = firsts[min(len(firsts) - 1, len(firsts) * 99 // 100)]
        per_cpu = f"{streams / cpu:,.0f}" if cpu > 0 else ""
        added = statistics.median(firsts) - direct
        added = f"{added:.2f}" if name != "direct" else f"({direct:.2f})"
        lines.append(f"| {name} | {streams} | {failed} | {per_cpu} | {added} | {p99:.2f} |")
    return "\n".join(lines) + "\n"


def started(name: str, plan: argparse.Namespace, folder: pathlib.Path, backend: int):
    """A proxy that answers, with its port; `None` where it is not to be had."""
    missing = {
        "envoy": lambda: envoy() is None,
        "litellm": lambda: litellm_program() is None,
        "mainstay": lambda: not mainstay_binary().exists(),
    }
    if missing[name]():
        print(f"{name} is left out: it is not installed", file=sys.stderr)
        return None
    port = free_port()
    own = folder / name
    own.mkdir()
    command = PROXIES[name](own, port, backend)
    process = Pinned(name, command, plan.proxy_core, own / "log")
    process.wait_for(port)
    limit = time.monotonic() + LITELLM_LIMIT
    while asyncio.run(read_stream(port)) is None:
        if time.monotonic() > limit:
            raise RuntimeError(f"{name} streams nothing: {(own / 'log').read_text()[-2000:]}")
        time.sleep(0.5)
    return process, port


def main() -> int:
    """Starts everything, measures, and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=PROXIES, default=list(PROXIES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--pause", default="5ms", help="between two words")
    parser.add_argument("--proxy-core", type=int, default=1)
    parser.add_argument("--no-report", action="store_true", help="print it and write nothing")
    plan = parser.parse_args()
    faults = mainstay_binary().with_name("mainstay-faults")
    if not faults.exists():
        print(f"build it first: cargo build --release -p mainstay-faults (in {ROOT})")
        return 1
    with tempfile.TemporaryDirectory() as text:
        folder = pathlib.Path(text)
        port = free_port()
        script = folder / "script.yaml"
        script.write_text(f"rules: [{{behave: slow-tokens, pause: {plan.pause}}}]")
        listen = ["--listen", f"127.0.0.1:{port}", "--control", "127.0.0.1:0"]
        command = [str(faults), *listen, "--script", str(script)]
        backend = Pinned("backend", command, 0, folder / "backend.log")
        running = {}
        try:
            backend.wait_for(port)
            for name in plan.only:
                if proxy := started(name, plan, folder, port):
                    running[name] = proxy
            sources = {"direct": (None, port), **running}
            rounds = {name: [] for name in sources}
            for number in range(plan.rounds):
                print(f"round {number + 1} of {plan.rounds}", flush=True)
                for name in list(sources)[:: 1 if number % 2 == 0 else -1]:
                    rounds[name].append(measure(name, *sources[name], plan))
        finally:
            for process, _ in running.values():
                process.stop()
            backend.stop()
    report = table(rounds, plan)
    print(report)
    if not plan.no_report:
        RESULTS.write_text(report)
    return 0

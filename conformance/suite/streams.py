"""The matrix over server-sent events: one server of a language model breaks, another is well.

Each row is one fault of the first server. A client reads ten streams through the gateway, one
after the other, and says of each what it was:

whole       every word once, the mark of the end, and a clean end
error       less than that, and an explicit error as the last event, without a mark of the end
cut         less than that, and the connection broke off
false end   less than that, and it ended as if it were whole
timeout     nothing more for 5 s

A fault before the first content passes if every stream is whole, one after it if every stream is
an explicit error: nobody else may write into a stream that has begun.
"""

import argparse
import collections
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

from harness.install import envoy
from harness.process import Pinned, free_port
from harness.streams import litellm_program

from .gateways.mainstay import find

HERE = pathlib.Path(__file__).resolve().parent.parent
RESULTS = HERE / "STREAMS.md"
WORDS = "1 2 3 4 5 6 7 8 "
STREAMS = 10
LIMIT = 5.0
START = 120.0

# Row, the first server's rule, and whether content came before the fault.
ROWS = [
    ("role-only then dead", "behave: cut", False),
    ("stall before first content", "behave: stall", False),
    ("keep-alives for ever", "behave: keep-alives, pause: 50ms", False),
    ("malformed first chunk", "behave: malformed-chunk", False),
    ("error inside a 200", "behave: error-inside", False),
    ("500", "behave: 500", False),
    ("529", "behave: 529", False),
    ("reset", "behave: reset", False),
    ("black hole", "behave: black-hole", False),
    ("cut after 3 events", "behave: cut, events: 3", True),
    ("stall after 3 events", "behave: stall, events: 3", True),
    ("keep-alives after 3 events", "behave: keep-alives, events: 3, pause: 50ms", True),
    ("malformed chunk after 3", "behave: malformed-chunk, events: 3", True),
    ("error event after 3", "behave: error-inside, events: 3", True),
    ("missing [DONE]", "behave: no-done", True),
]

BODY = json.dumps(
    {"model": "counter", "stream": True, "messages": [{"role": "user", "content": "count"}]}
).encode()


def mainstay(folder: pathlib.Path, port: int, servers: list[int]) -> list[str]:
    """Two pools of the same quality; limits of a second."""
    streams = {"first-token": "1s", "inter-token": "1s"}
    pools = {
        f"p{at}": {
            "protocol": "openai",
            "endpoints": [f"http://127.0.0.1:{server}"],
            "streams": streams,
        }
        for at, server in enumerate(servers)
    }
    chain = [{"pool": "p0"}, {"pool": "p1", "equivalent": True}]
    config = {
        "listen": {"http": f"127.0.0.1:{port}"},
        "admin": {"address": f"127.0.0.1:{free_port()}"},
        "state-dir": str(folder),
        "pools": pools,
        "models": {"counter": {"deadline": "10s", "chain": chain}},
    }
    file = folder / "mainstay.yaml"
    file.write_text(json.dumps(config))
    return [find(), "serve", "--config", str(file)]


def envoy_proxy(folder: pathlib.Path, port: int, servers: list[int]) -> list[str]:
    """Two priorities, retries of everything that it can retry, limits of a second."""
    from harness.proxies import envoy as proxy

    config = json.loads(proxy._config(folder, port, servers[0]))
    resources = config["static_resources"]
    manager = resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["stream_idle_timeout"] = "1s"
    manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"] = {
        "cluster": "model",
        "timeout": "10s",
        "retry_policy": {
            "retry_on": "connect-failure,reset,5xx,retriable-4xx",
            "num_retries": 2,
            "per_try_timeout": "10s",
            "per_try_idle_timeout": "1s",
            "retry_priority": {
                "name": "envoy.retry_priorities.previous_priorities",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.retry.priority"
                    ".previous_priorities.v3.PreviousPrioritiesConfig",
                    "update_frequency": 1,
                },
            },
        },
    }
    cluster = resources["clusters"][0]
    cluster.pop("health_checks")
    cluster["load_assignment"]["endpoints"] = [
        {"priority": at, "lb_endpoints": [{"endpoint": {"address": proxy._address(server)}}]}
        for at, server in enumerate(servers)
    ]
    file = folder / "envoy.json"
    file.write_text(json.dumps(config))
    return proxy._command(envoy(), file)


def litellm(folder: pathlib.Path, port: int, servers: list[int]) -> list[str]:
    """A model and its fallback, retries, limits of a second."""
    names = ["counter", "other"]
    models = [
        {
            "model_name": name,
            "litellm_params": {
                "model": "openai/counter",
                "api_base": f"http://127.0.0.1:{server}/v1",
                "api_key": "none",
                "timeout": 1,
                "stream_timeout": 1,
            },
        }
        for name, server in zip(names, servers, strict=True)
    ]
    config = {
        "model_list": models,
        "router_settings": {"fallbacks": [{"counter": ["other"]}], "num_retries": 1},
    }
    file = folder / "litellm.yaml"
    file.write_text(json.dumps(config))
    os.environ["LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"] = "true"
    return [str(litellm_program()), "--config", str(file), "--host", "127.0.0.1",
            "--port", str(port)]


GATEWAYS = {
    "mainstay": (mainstay, lambda: find() is not None),
    "envoy": (envoy_proxy, lambda: envoy() is not None),
    "litellm": (litellm, lambda: litellm_program() is not None),
}


def chunks(connection: socket.socket):
    """The body of a chunked answer, part by part; an error where it breaks off."""
    file = connection.makefile("rb")
    status = int(file.readline().split()[1])
    chunked = False
    while (line := file.readline()).strip():
        chunked = chunked or line.lower().startswith(b"transfer-encoding: chunked")
    if status != 200 or not chunked:
        raise ValueError(f"status {status}")
    while True:
        line = file.readline()
        if not line:
            raise ConnectionError
        size = int(line.split(b";")[0], 16)
        part = file.read(size)
        if len(part) < size:
            raise ConnectionError
        file.readline()
        if size == 0:
            return
        yield part


def read_stream(port: int) -> str:
    """Reads one stream and says what it was."""
    text, ended = b"", "whole"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=LIMIT) as connection:
            connection.settimeout(LIMIT)
            connection.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: c\r\nconnection: close\r\n"
                b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY
            )
            for part in chunks(connection):
                text += part
    except TimeoutError:
        ended = "timeout"
    except (OSError, ValueError) as error:
        ended = str(error) if isinstance(error, ValueError) else "cut"
    return judged(text.decode(errors="replace"), ended)


def judged(text: str, ended: str) -> str:
    """What a stream was, by what came of it."""
    words, done, error = "", False, False
    for event in text.split("\n\n"):
        data = event.rpartition("data: ")[2].strip()
        if data == "[DONE]":
            done = True
            continue
        try:
            chunk = json.loads(data)
        except ValueError:
            continue
        if not isinstance(chunk, dict):
            continue
        error = error or bool(chunk.get("error"))
        for choice in chunk.get("choices") or []:
            words += (choice.get("delta") or {}).get("content") or ""
    if ended == "whole" and words == WORDS and done and not error:
        return "whole"
    if error and not done and ended in ("whole", "cut"):
        return "error"
    return "false end" if ended == "whole" else ended


def row(name: str, gateway: str, rule: str, faults: pathlib.Path) -> collections.Counter:
    """One fault before one gateway."""
    build, _ = GATEWAYS[gateway]
    with tempfile.TemporaryDirectory() as text:
        folder = pathlib.Path(text)
        ports = [free_port(), free_port()]
        processes = []
        try:
            for at, port in enumerate(ports):
                script = folder / f"script{at}.yaml"
                script.write_text("{}")
                listen = ["--listen", f"127.0.0.1:{port}"]
                control = free_port()
                if at == 0:
                    first = control
                listen += ["--control", f"127.0.0.1:{control}", "--script", str(script)]
                server = Pinned(f"s{at}", [str(faults), *listen], 0, folder / f"s{at}.log")
                processes.append(server)
                server.wait_for(port)
            port = free_port()
            proxy = Pinned(gateway, build(folder, port, ports), 1, folder / "gateway.log")
            processes.append(proxy)
            proxy.wait_for(port)
            limit = time.monotonic() + START
            while read_stream(port) != "whole":
                if time.monotonic() > limit:
                    raise RuntimeError((folder / "gateway.log").read_text()[-2000:])
                time.sleep(0.2)
            play(first, f"{{rules: [{{{rule}}}]}}")
            return collections.Counter(read_stream(port) for _ in range(STREAMS))
        finally:
            for process in reversed(processes):
                process.kill()


def play(control: int, script: str) -> None:
    """Gives a server another script."""
    url = f"http://127.0.0.1:{control}/script"
    subprocess.run(["curl", "-sf", "-T", "-", url], input=script.encode(), check=True)


def main() -> int:
    """Every row before every gateway; the exit code is that of Mainstay's rows."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gateway", nargs="+", choices=GATEWAYS, default=["mainstay"])
    parser.add_argument("--row", nargs="+", default=[], help="only rows that begin like this")
    parser.add_argument("--no-report", action="store_true", help="print it and write nothing")
    plan = parser.parse_args()
    faults = pathlib.Path(find() or "mainstay").with_name("mainstay-faults")
    gateways = [name for name in plan.gateway if GATEWAYS[name][1]()]
    lines = [
        "# Streams that break",
        "",
        f"What {STREAMS} clients saw of each fault; made by `conformance/streams`. "
        "**Bold** passes: all whole before the first content, an explicit error after it.",
        "",
        "| the first server | " + " | ".join(gateways) + " |",
        "|---|" + "---|" * len(gateways),
    ]
    failed = 0
    for name, rule, began in ROWS:
        if plan.row and not any(name.startswith(wanted) for wanted in plan.row):
            continue
        cells = []
        for gateway in gateways:
            seen = row(name, gateway, rule, faults)
            passes = set(seen) == {"error" if began else "whole"}
            text = ", ".join(f"{count} {what}" for what, count in sorted(seen.items()))
            cells.append(f"**{text}**" if passes else text)
            failed += gateway == "mainstay" and not passes
            print(f"{name}: {gateway}: {text}", flush=True)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    if not plan.no_report:
        RESULTS.write_text("\n".join(lines) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

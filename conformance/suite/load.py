"""Steady load: requests at fixed times, whatever becomes of those before.

A request waits for its answer as long as its deadline and a little more, and every answer is
checked: the servers' model adds up its inputs, so a wrong answer cannot pass for a right one.
"""

import asyncio
import collections
import dataclasses
import json
import time

# What a client gives each request, in seconds, and what every gateway is configured with.
DEADLINE = 1.0
# An answer is late beyond this; the client gives up after the patience.
LATE = DEADLINE + 0.1
PATIENCE = DEADLINE + 0.5
# Below this an answer is a guess.
SURE = 0.6


@dataclasses.dataclass
class Seen:
    """One request as the client saw it."""

    id: str
    model: str
    # Seconds of wall time.
    sent: float
    # ok, default, unsure, wrong, a status, cut, refused, late or timeout
    kind: str = "pending"
    took: float = 0.0
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    # What is said of how much it matters; None: nothing.
    priority: str | None = None

    @property
    def good(self) -> bool:
        """A right and sure answer in time."""
        return self.kind == "ok"


class Load:
    """Load on one port, from `start` until `stop`."""

    def __init__(self, port: int, rate: float, models: tuple[str, ...], urgent: int = 0):
        self.port = port
        self.rate = rate
        self._models = models
        self._urgent = urgent
        self.seen: list[Seen] = []
        self._idle: collections.deque = collections.deque()
        self._running: set[asyncio.Task] = set()
        self._sender: asyncio.Task | None = None

    def start(self) -> None:
        """Begins to send."""
        self._sender = asyncio.create_task(self._send())

    async def stop(self) -> None:
        """Ends, and waits for the requests under way."""
        if self._sender:
            self._sender.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        for _, writer in self._idle:
            writer.close()

    async def _send(self) -> None:
        due = time.monotonic()
        while True:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self._begin()
            due += 1 / self.rate

    def _begin(self) -> None:
        number = len(self.seen)
        seen = Seen(f"c{number}", self._models[number % len(self._models)], time.time())
        if self._urgent:
            seen.priority = "low" if number % self._urgent else "high"
        self.seen.append(seen)
        task = asyncio.create_task(self._one(number, seen))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _one(self, number: int, seen: Seen) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                status, seen.headers, body = await self._exchange(seen, number)
            seen.kind = judge(status, seen.headers, body, number)
        except TimeoutError:
            seen.kind = "timeout"
        except ConnectionRefusedError:
            seen.kind = "refused"
        except (OSError, EOFError, ValueError):
            seen.kind = "cut"
        seen.took = time.monotonic() - began
        if seen.took > LATE and seen.kind != "timeout":
            seen.kind = "late"

    async def _exchange(self, seen: Seen, number: int) -> tuple[int, dict[str, str], bytes]:
        reader, writer = await self._connection()
        try:
            writer.write(request(seen, number))
            status, headers = await head(reader)
            body = await content(reader, headers)
        except BaseException:
            writer.transport.abort()
            raise
        if headers.get("connection", "").lower() == "close":
            writer.close()
        else:
            self._idle.append((reader, writer))
        return status, headers, body

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self.port)


def request(seen: Seen, number: int) -> bytes:
    """An inference of one row, named in body and header alike."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [number, 1.0]}
    body = json.dumps({"id": seen.id, "inputs": [tensor]}).encode()
    priority = f"x-priority: {seen.priority}\r\n" if seen.priority else ""
    head = (
        f"POST /v2/models/{seen.model}/infer HTTP/1.1\r\nhost: gateway\r\n"
        f"content-type: application/json\r\nx-request-id: {seen.id}\r\n"
        f"{priority}content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """Status and headers, their names in lower case."""
    text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = text.split("\r\n")
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return int(first.split()[1]), {name.lower(): value.strip() for name, value in pairs}


async def content(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    """The body, by its length or in chunks."""
    if "chunked" not in headers.get("transfer-encoding", ""):
        return await reader.readexactly(int(headers.get("content-length", "0")))
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return body


def judge(status: int, headers: dict[str, str], body: bytes, number: int) -> str:
    """What an answer is worth."""
    if status != 200:
        return str(status)
    try:
        outputs = {output["name"]: output["data"] for output in json.loads(body)["outputs"]}
        y, sure = outputs["y"][0], max(outputs["probabilities"])
    except (ValueError, KeyError, IndexError, TypeError):
        return "wrong"
    if "x-mainstay-degraded" in headers and y == DEFAULT:
        return "default"
    if y != number + 1:
        return "wrong"
    return "ok" if sure >= SURE else "unsure"


# The default prediction, which no sum of inputs can be.
DEFAULT = -1.0

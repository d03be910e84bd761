"""The faulty servers: processes that are killed, frozen and told how to misbehave."""

import asyncio
import dataclasses
import json
import pathlib
import signal
import subprocess

from .ports import Ports

START_LIMIT = 10.0

# A server that is well: about 30 ms of work, so that nearly three requests are always under way.
WELL = {"latency": {"least": "20ms", "most": "40ms"}}


@dataclasses.dataclass
class Attempt:
    """One request as a server saw it."""

    server: str
    # Seconds of wall time.
    at: float
    kind: str
    model: str | None
    id: str | None
    behaviour: str
    executed: bool
    answered: bool | None


class Server:
    """One `mainstay-faults` on a port that it keeps."""

    def __init__(self, name: str, program: pathlib.Path, folder: pathlib.Path, ports: Ports):
        self.name = name
        self._program = program
        self._folder = folder
        self.port, self._control = ports.take(), ports.take()
        self._lives = 0
        self._process: subprocess.Popen | None = None
        self._journals: list[Journal] = []

    async def start(self, script: dict | None = None) -> None:
        """Starts it, with this script, and returns once it listens."""
        self._lives += 1
        stem = self._folder / f"{self.name}-{self._lives}"
        first = stem.with_suffix(".script")
        first.write_text(json.dumps(script or WELL))
        journal = stem.with_suffix(".journal")
        command = [
            str(self._program), "--listen", f"127.0.0.1:{self.port}",
            "--control", f"127.0.0.1:{self._control}",
            "--script", str(first), "--journal", str(journal),
        ]
        with stem.with_suffix(".log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        self._journals.append(Journal(self.name, journal))
        await self._listens(stem.with_suffix(".log"))

    async def _listens(self, log: pathlib.Path) -> None:
        async with asyncio.timeout(START_LIMIT):
            while "control on" not in log.read_text():
                if self._process.poll() is not None:
                    raise RuntimeError(f"{self.name} does not start: {log.read_text()}")
                await asyncio.sleep(0.01)

    async def play(self, script: dict) -> None:
        """Changes what it does from now on."""
        body = json.dumps(script).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", self._control)
        head = f"PUT /script HTTP/1.1\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        answer = await reader.read()
        writer.close()
        if b" 200 " not in answer.split(b"\r\n")[0]:
            raise RuntimeError(f"{self.name} refuses its script: {answer.decode()}")

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to this process alone."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(number)

    async def ended(self) -> None:
        """Waits for the end of the process."""
        while self._process and self._process.poll() is None:
            await asyncio.sleep(0.01)

    def stop(self) -> None:
        """Ends it for good, frozen or not."""
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def attempts(self) -> list["Attempt"]:
        """Every request of all its lives so far."""
        return [attempt for journal in self._journals for attempt in journal.read()]


class Journal:
    """Reads what a server writes down, as far as it is written."""

    def __init__(self, server: str, path: pathlib.Path):
        self._server = server
        self._path = path
        self._offset = 0
        self._entries: dict[int, Attempt] = {}

    def read(self) -> list[Attempt]:
        """All entries, each as it was last written."""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._offset)
                text = file.read()
            whole = text[: text.rfind(b"\n") + 1]
            self._offset += len(whole)
            for line in whole.splitlines():
                entry = json.loads(line)
                self._entries[entry["number"]] = self._attempt(entry)
        return list(self._entries.values())

    def _attempt(self, entry: dict) -> Attempt:
        return Attempt(
            self._server, entry["at_ms"] / 1e3, entry["kind"], entry["model"], entry["id"],
            entry["behaviour"], entry["executed"], entry["answered"],
        )

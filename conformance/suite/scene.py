"""One row before one gateway: everything is started afresh, so that rows do not meet each other."""

import asyncio
import contextlib
import dataclasses
import pathlib
import time

from . import measure
from .gateways import Gateway, Running, gateway as adapters, start
from .load import Load, Seen
from .measure import Phases
from .ports import Ports
from .rows import ALL, FIRST, Row
from .servers import Attempt, Server

# Good answers in a row before anything is measured, and how long that may take.
GOOD = 50
READY_LIMIT = 20.0
# How long to wait for a server that does not come back.
RECOVER_LIMIT = 22.0
LOOK = 0.25
SAMPLE = 30
MODELS = ("a", "b", "c")


@dataclasses.dataclass(frozen=True)
class Pace:
    """How long each part takes, in seconds."""

    warm: float = 3.0
    # Longest duration of a fault; None leaves it to the row.
    fault: float | None = None
    recover: float = RECOVER_LIMIT


@dataclasses.dataclass
class World:
    """What a fault can touch."""

    row: Row
    servers: dict[str, Server]
    load: Load
    running: Running

    def reload(self, first: tuple[str, ...]) -> None:
        """Gives the gateway a configuration with these of the first servers."""
        every = {place.name: place for place in self.running.site.first}
        self.running.reload(tuple(every[name] for name in first))

    @property
    def victims(self) -> list[Server]:
        """The servers that the fault is about."""
        return [self.servers[name] for name in self.row.victims]

    def attempts(self) -> list[Attempt]:
        """Every request at every server so far."""
        return [attempt for server in self.servers.values() for attempt in server.attempts()]


@dataclasses.dataclass
class Evidence:
    """All that was seen in one row."""

    row: Row
    phases: Phases
    seen: list[Seen]
    attempts: list[Attempt]
    explained: bool


async def play(
    row: Row, gateway: Gateway, binary: str, program: pathlib.Path, folder: pathlib.Path,
    ports: Ports, pace: Pace,
) -> Evidence:
    """Plays one row and gives what was seen."""
    servers = {name: Server(name, program, folder, ports) for name in ALL}
    with contextlib.ExitStack() as stack:
        for server in servers.values():
            stack.callback(server.stop)
            await server.start(row.script)
        near = FIRST if row.near is None else row.near
        places = {
            name: adapters.Place(name, server.port, name in near or name == "backup")
            for name, server in servers.items()
        }
        first = [places[name] for name in FIRST]
        site = adapters.site(folder, ports, first, places["backup"], MODELS)
        site = dataclasses.replace(site, priorities=row.urgent > 0)
        running = await asyncio.to_thread(start, gateway, site, binary, row.reloads)
        stack.callback(running.stop)
        load = Load(site.port, row.rate, row.models, row.urgent)
        world = World(row, servers, load, running)
        return await _drill(world, running, pace)


async def _drill(world: World, running: Running, pace: Pace) -> Evidence:
    row, load = world.row, world.load
    load.start()
    try:
        await _good(load)
        await asyncio.sleep(pace.warm)
        began = time.time()
        await row.fault(world)
        lasts = row.lasts if pace.fault is None else min(pace.fault, row.lasts)
        await asyncio.sleep(began + lasts - time.time())
        repaired = time.time()
        await row.repair(world)
        await _back(world, Phases(began, repaired, repaired), pace)
    finally:
        await load.stop()
    phases = Phases(began, repaired, time.time())
    attempts = measure.dated(row, phases, load.seen, world.attempts())
    explained = await asyncio.to_thread(_explained, running, world, phases, attempts)
    return Evidence(row, phases, load.seen, attempts, explained)


async def _good(load: Load) -> None:
    """Waits until the gateway answers well, and goes on doing so."""
    async with asyncio.timeout(READY_LIMIT):
        while not _settled(load):
            await asyncio.sleep(LOOK)


def _settled(load: Load) -> bool:
    done = [seen for seen in load.seen if seen.kind != "pending"]
    return len(done) >= GOOD and all(seen.good for seen in done[-GOOD:])


async def _back(world: World, phases: Phases, pace: Pace) -> None:
    """Looks on until the victims serve their share again, or for as long as is reasonable."""
    row = world.row
    if row.criteria.recover is None:
        await asyncio.sleep(min(row.linger, pace.recover))
        return
    limit = phases.repaired + pace.recover
    while time.time() < limit:
        await asyncio.sleep(LOOK)
        attempts = measure.dated(row, phases, world.load.seen, world.attempts())
        if measure.recovery(row, phases, attempts) is not None:
            await asyncio.sleep(row.linger)
            return


def _explained(
    running: Running, world: World, phases: Phases, attempts: list[Attempt]
) -> bool:
    explain = running.gateway.explain
    if explain is None:
        return False
    met = {
        attempt.id for attempt in attempts
        if attempt.server in world.row.victims and attempt.behaviour != "ok"
    }
    affected = [
        seen for seen in world.load.seen
        if phases.began <= seen.sent < phases.repaired
        and "x-mainstay-request-id" in seen.headers
        and (seen.id in met or "x-mainstay-trail" in seen.headers)
    ]
    step = max(1, len(affected) // SAMPLE)
    return explain(running.site, affected[::step], list(world.row.victims))

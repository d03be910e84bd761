"""The matrix: what is done to which server, and what a gateway must make of it.

The criteria are in README.md, in words; they are the same for every gateway and were written down
before the first run.
"""

import asyncio
import dataclasses
import signal
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from .servers import WELL

if TYPE_CHECKING:
    from .scene import World

ONE = ("s1",)
FIRST = ("s1", "s2", "s3")
ALL = (*FIRST, "backup")

# Requests a second, of which each of the three servers has a third.
RATE = 90.0
# What a server with two workers of 50 ms can do in a second.
CAPACITY = 40.0
FULL = {"latency": "50ms", "capacity": {"workers": 2, "queue": 64}}
# Between two configurations: each is in effect for a while before the next one comes.
RELOAD_EVERY = 0.5


@dataclasses.dataclass(frozen=True)
class Criteria:
    """What must hold for a row to pass; None asks for nothing."""

    # Requests that may go without a right answer in time, as a share.
    errors: float | None = 1 / 500
    # Seconds from the fault until the server is asked no more than by way of trial.
    detect: float | None = 5.0
    # Seconds from the repair until it serves its share again.
    recover: float | None = 20.0
    # Attempts at servers for each request during the fault.
    amplification: float | None = 1.5
    # (server, model) that must keep at least a third of an even share: nothing is wrong with them.
    keeps: tuple[tuple[str, str], ...] = ()
    # Every request is answered by a proper error or a default, in time.
    clean: bool = False
    # Right answers a second under overload.
    goodput: float | None = None
    # The most that a returning server may get in any second, in shares.
    herd: float | None = None
    # The client's 99th percentile from ten seconds after the fault on, in times of that before.
    slower: float | None = None
    # Of a server that flaps: the most that it may get in its bad times, in the second half.
    flaps: float | None = None
    # Of the requests that matter: the share that may go without a right answer during the fault.
    urgent: float | None = None
    # Of the others: the share that must have one all the same.
    others: float | None = None


@dataclasses.dataclass(frozen=True)
class Row:
    """One fault."""

    name: str
    title: str
    fault: Callable[["World"], Awaitable[None]]
    repair: Callable[["World"], Awaitable[None]]
    criteria: Criteria = Criteria()
    # Seconds of the fault.
    lasts: float = 8.0
    victims: tuple[str, ...] = ONE
    # The one model that the fault is about.
    model: str | None = None
    models: tuple[str, ...] = ("a",)
    # Whether the victims see what is sent to them; else the end is when clients see no errors.
    observed: bool = True
    # Whether requests wait unread in the victims, to be counted by the time they were sent.
    frozen: bool = False
    # Who of the first servers is in the gateway's own zone; None: nobody says where anybody is.
    near: tuple[str, ...] | None = None
    # Every so many requests there is one that matters more than the others; 0: all are alike.
    urgent: int = 0
    # Requests a second.
    rate: float = RATE
    # Whether the gateway gets other configurations while it runs; left out where it cannot.
    reloads: bool = False
    # What all servers do before the fault.
    script: dict = dataclasses.field(default_factory=lambda: WELL)
    # Seconds to look on after the server is back.
    linger: float = 1.0


def _rules(*rules: dict) -> dict:
    return {**WELL, "rules": list(rules)}


def _play(rule: dict):
    async def fault(world: "World") -> None:
        for server in world.victims:
            await server.play(_rules(rule))

    return fault


def _slow(least: str, most: str):
    async def fault(world: "World") -> None:
        for server in world.victims:
            await server.play({"latency": {"least": least, "most": most}})

    return fault


async def _well(world: "World") -> None:
    for server in world.victims:
        await server.play(WELL)


def _signal(number: signal.Signals):
    async def fault(world: "World") -> None:
        for server in world.victims:
            server.signal(number)
        if number != signal.SIGSTOP:
            for server in world.victims:
                await server.ended()

    return fault


async def _again(world: "World") -> None:
    for server in world.victims:
        await server.start()


async def _thaw(world: "World") -> None:
    for server in world.victims:
        server.signal(signal.SIGCONT)


async def _cold(world: "World") -> None:
    """Killed and started again, with a model that takes its time to load."""
    await _signal(signal.SIGKILL)(world)
    loading = {"behave": "not-ready", "for": f"{world.row.lasts}s"}
    for server in world.victims:
        await server.start(_rules(loading))


async def _nothing(_world: "World") -> None:
    """It is well by itself."""


async def _flood(world: "World") -> None:
    world.load.rate = 1.5 * CAPACITY * len(FIRST)


async def _calm(world: "World") -> None:
    world.load.rate = RATE


async def _reload(world: "World") -> None:
    """Another configuration, again and again: s3 comes and goes."""
    for number in range(round(world.row.lasts / RELOAD_EVERY)):
        await asyncio.to_thread(world.reload, FIRST[:2] if number % 2 == 0 else FIRST)
        await asyncio.sleep(RELOAD_EVERY)


async def _all_first(world: "World") -> None:
    await asyncio.to_thread(world.reload, FIRST)


def _infer(name: str, title: str, behave: str, criteria: Criteria = Criteria(), **more) -> Row:
    """A server whose probes are well and whose answers are not."""
    rule = {"behave": behave, "path": "infer", **more}
    return Row(name, title, _play(rule), _well, criteria)


def _whole(name: str, title: str, behave: str, criteria: Criteria = Criteria(), **more) -> Row:
    """A server that fails probes and traffic alike."""
    observed = behave != "refused"
    return Row(name, title, _play({"behave": behave}), _well, criteria, observed=observed, **more)


def _process(name: str, title: str, number: signal.Signals) -> Row:
    return Row(name, title, _signal(number), _again, Criteria(), observed=False)


HANGS = Criteria(detect=3.0)
# A server that says that it is full has not failed: it may be asked again at any time.
BUSY = Criteria(detect=None)

ROWS: tuple[Row, ...] = (
    _whole("refused", "connections refused", "refused"),
    _infer("reset", "reset before the first byte", "reset"),
    _infer("reset-body", "reset in the body", "reset-body"),
    _whole("black-hole", "accepts and never answers", "black-hole", HANGS),
    _whole("slow-header", "head byte by byte", "slow-header"),
    _whole("slow-drip", "body byte by byte", "slow-drip"),
    _whole("not-ready", "400, model not ready (Triton)", "not-ready"),
    _infer("429-retry-after", "429 with Retry-After", "429", BUSY, **{"retry-after": 1}),
    _infer("429", "429 without Retry-After", "429", BUSY),
    _infer("500", "500", "500"),
    _infer("503", "503", "503"),
    _infer("507", "507, out of memory (TorchServe)", "507", BUSY),
    _infer("529", "529, overloaded", "529", BUSY),
    _infer("empty", "200 without a body", "empty"),
    _infer("malformed", "200, not JSON", "malformed"),
    _infer("truncated", "200, half of the JSON", "truncated"),
    _infer("wrong-length", "announces more than it sends", "long-length"),
    _process("sigterm", "SIGTERM, later started again", signal.SIGTERM),
    _process("sigkill", "SIGKILL, later started again", signal.SIGKILL),
    Row("sigstop", "SIGSTOP, later SIGCONT", _signal(signal.SIGSTOP), _thaw, HANGS, frozen=True),
    _infer("probe-ok-traffic-dead", "probes pass, traffic is never answered", "black-hole", HANGS),
    Row(
        "traffic-ok-probe-dead", "traffic is served, probes are never answered",
        _play({"behave": "black-hole", "path": "probe"}), _well,
        Criteria(detect=None, recover=None, keeps=(("s1", "a"),)),
    ),
    Row(
        "slow", "ten times slower", _slow("200ms", "400ms"), _well,
        Criteria(detect=None, recover=None, slower=1.5), lasts=14.0,
    ),
    Row(
        "all-slow", "all three five times slower", _slow("100ms", "200ms"), _well,
        Criteria(
            detect=None, recover=None, amplification=1.2,
            keeps=tuple((name, "a") for name in FIRST),
        ),
        victims=FIRST,
    ),
    Row(
        "overload", "one and a half times what all servers can do", _flood, _calm,
        Criteria(
            errors=None, detect=None, recover=None, amplification=1.2,
            goodput=0.8 * CAPACITY * len(FIRST), keeps=tuple((name, "a") for name in FIRST),
        ),
        victims=FIRST, script=FULL,
    ),
    Row(
        "one-model", "one model of three dead on a server",
        _play({"behave": "500", "model": "b"}), _well,
        Criteria(keeps=(("s1", "a"), ("s1", "c"))),
        model="b", models=("a", "b", "c"),
    ),
    Row("cold-load", "killed, then a cold load of 20 s", _cold, _nothing, lasts=20.0),
    Row(
        "first-dead", "all three killed, the backup lives", _signal(signal.SIGKILL), _again,
        victims=FIRST, observed=False, lasts=6.0,
    ),
    Row(
        "all-dead", "all killed, the backup too", _signal(signal.SIGKILL), _again,
        Criteria(errors=None, detect=None, recover=10.0, amplification=None, clean=True),
        victims=ALL, observed=False, lasts=5.0,
    ),
    Row(
        "recover", "black hole, then well: no herd onto it", _play({"behave": "black-hole"}),
        _well, Criteria(detect=3.0, herd=1.75), linger=6.0,
    ),
    Row(
        "flap", "resets for 2 s, is well for 2 s, four times",
        _play({"behave": "reset", "path": "infer", "for": "2s", "every": "4s"}), _well,
        Criteria(detect=None, recover=None, flaps=0.3), lasts=16.0,
    ),
    _infer(
        "low-confidence", "proper answers that are guesses", "low-confidence",
        Criteria(detect=None, recover=None, amplification=1.5),
    ),
    Row(
        "zone-dead", "a whole zone killed (s1 and s2), room enough in the other",
        _signal(signal.SIGKILL), _again, Criteria(errors=0.0),
        victims=("s1", "s2"), near=("s1", "s2"), observed=False,
    ),
    Row(
        "zone-dead-short", "a whole zone killed, too little room in the other and the backup",
        _signal(signal.SIGKILL), _again,
        Criteria(errors=None, detect=None, recover=None, urgent=0.02, others=0.5),
        victims=("s1", "s2"), near=("s1", "s2"), observed=False, script=FULL,
        urgent=4, rate=100.0,
    ),
    Row(
        "reload", "a new configuration every half second, with s3 and without", _reload,
        _all_first,
        Criteria(
            errors=0.0, detect=None, recover=None, amplification=1.1,
            keeps=(("s1", "a"), ("s2", "a")),
        ),
        victims=("s3",), reloads=True,
    ),
    _infer("nan", "answers are NaN", "nan", Criteria(detect=None, recover=None)),
)
BY_NAME = {row.name: row for row in ROWS}
# What a minute shows: a status, a silence, a lie, and a wrong probe.
QUICK = ("500", "truncated", "probe-ok-traffic-dead", "traffic-ok-probe-dead")

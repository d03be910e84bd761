"""Numbers from what was seen. Pure: lists in, numbers out."""

import collections
import dataclasses

from .load import LATE, Seen
from .rows import FIRST, RATE, Row
from .servers import Attempt

# A server is out when it gets no more than so many requests in any second.
TRIALS = 6
# It is back when it served so much of an even share within a second: balancers that learn do not
# split evenly among equals.
BACK = 0.5
# How long a gateway may take to get round a slow server.
ADAPT = 10.0
# Requests in flight when the fault comes meet it as well.
CAUGHT = 0.1


@dataclasses.dataclass(frozen=True)
class Phases:
    """When what happened: seconds of wall time."""

    began: float
    repaired: float
    ended: float

    def fault(self, at: float) -> bool:
        """Whether it lies within the fault."""
        return self.began <= at < self.repaired


def dated(row: Row, phases: Phases, seen: list[Seen], attempts: list[Attempt]) -> list[Attempt]:
    """Inferences only; what a frozen server read after it was thawed counts from when it was sent."""
    infers = [attempt for attempt in attempts if attempt.kind == "infer"]
    if row.frozen:
        sent = {one.id: one.sent for one in seen}
        infers = [_thawed(row, phases, sent, attempt) for attempt in infers]
    return sorted(infers, key=lambda attempt: attempt.at)


def _thawed(row: Row, phases: Phases, sent: dict[str, float], attempt: Attempt) -> Attempt:
    if attempt.server not in row.victims or attempt.at < phases.repaired:
        return attempt
    at = min(attempt.at, sent.get(attempt.id, attempt.at) + CAUGHT)
    return dataclasses.replace(attempt, at=at)


def share(row: Row, servers: int = 1) -> float:
    """Requests a second that so many of the first servers get of an even share of the row's model."""
    models = 1 / len(row.models) if row.model else 1
    return RATE * min(servers, len(FIRST)) / len(FIRST) * models


def _at_victims(row: Row, attempts: list[Attempt]) -> list[Attempt]:
    return [
        attempt for attempt in attempts
        if attempt.server in row.victims and row.model in (None, attempt.model)
    ]


def detection(
    row: Row, phases: Phases, seen: list[Seen], attempts: list[Attempt]
) -> float | None:
    """Seconds until the victims were out; None if they never were."""
    if not row.observed:
        errors = [
            one.sent + one.took - phases.began for one in seen
            if phases.fault(one.sent) and not one.good
        ]
        last = max(errors, default=0.0)
        # Until the end: not at all.
        return last if last < phases.repaired - phases.began - 1 else None
    times = [
        attempt.at for attempt in _at_victims(row, attempts) if phases.fault(attempt.at)
    ]
    busy = [
        at for place, at in enumerate(times)
        if place + TRIALS < len(times) and times[place + TRIALS] < at + 1
    ]
    last = max(busy, default=phases.began)
    return last - phases.began if last < phases.repaired - 1.5 else None


def recovery(row: Row, phases: Phases, attempts: list[Attempt]) -> float | None:
    """Seconds until the victims had served their share for a second; None if they never did."""
    times = sorted(
        attempt.at for attempt in _at_victims(row, attempts)
        if attempt.kind == "infer" and attempt.at >= phases.repaired
        and attempt.behaviour == "ok" and attempt.answered is not False
    )
    need = round(BACK * share(row, len(row.victims)))
    for place in range(need - 1, len(times)):
        if times[place] - times[place - need + 1] <= 1:
            return times[place] - phases.repaired
    return None


def clients(phases: Phases, seen: list[Seen]) -> list[Seen]:
    """The requests that could meet the fault or the return."""
    return [one for one in seen if one.sent >= phases.began - CAUGHT]


def told(seen: list[Seen]) -> str:
    """What clients saw, in a line."""
    kinds = collections.Counter(f"{one.kind}" for one in seen)
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    slowest = max((one.took for one in seen), default=0.0)
    return f"{counts}; slowest {slowest * 1e3:.0f} ms"


def by_server(phases: Phases, attempts: list[Attempt]) -> dict[str, int]:
    """Attempts that arrived during the fault, for each server."""
    counts = collections.Counter(a.server for a in attempts if phases.fault(a.at))
    return {name: counts[name] for name in (*FIRST, "backup")}


def amplification(phases: Phases, seen: list[Seen], attempts: list[Attempt]) -> float:
    """Attempts for each request during the fault."""
    sent = sum(phases.fault(one.sent) for one in seen)
    return sum(phases.fault(attempt.at) for attempt in attempts) / max(1, sent)


def duplicates(phases: Phases, seen: list[Seen], attempts: list[Attempt]) -> int:
    """Executions beyond the first of requests sent during the fault, over all servers."""
    sent = {one.id for one in seen if phases.fault(one.sent)}
    runs = collections.Counter(a.id for a in attempts if a.executed and a.id in sent)
    return sum(count - 1 for count in runs.values())


def kept(row: Row, phases: Phases, attempts: list[Attempt], server: str, model: str) -> float:
    """What a server got of its share of a model, from a second after the fault on."""
    since = phases.began + 1
    got = sum(
        attempt.server == server and attempt.model == model
        and since <= attempt.at < phases.repaired for attempt in attempts
    )
    fair = RATE / len(FIRST) / len(row.models) * (phases.repaired - since)
    return got / fair


def goodput(phases: Phases, seen: list[Seen]) -> float:
    """Right answers a second, from two seconds after the fault on."""
    since = phases.began + 2
    good = sum(one.good and since <= one.sent < phases.repaired for one in seen)
    return good / (phases.repaired - since)


def herd(row: Row, phases: Phases, attempts: list[Attempt]) -> float:
    """The most that the victims got in any second after the repair, in shares."""
    times = [a.at for a in _at_victims(row, attempts) if a.at >= phases.repaired]
    most = max((sum(at <= later < at + 1 for later in times) for at in times), default=0)
    return most / share(row, len(row.victims))


def slower(phases: Phases, seen: list[Seen]) -> float:
    """The 99th percentile in the last part of the fault, in times of that before the fault."""
    before = [one.took for one in seen if phases.began - 3 <= one.sent < phases.began - 0.5]
    since = phases.began + ADAPT
    after = [one.took for one in seen if since <= one.sent < phases.repaired]
    return _p99(after) / _p99(before)


def _p99(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.99)]


def flaps(row: Row, phases: Phases, attempts: list[Attempt]) -> float:
    """What a flapping server got in the bad times of the second half, in shares."""
    middle = (phases.began + phases.repaired) / 2
    bad = sum(
        middle <= attempt.at < phases.repaired and attempt.behaviour != "ok"
        for attempt in _at_victims(row, attempts)
    )
    # It is bad for half of the time.
    return bad / (share(row) * (phases.repaired - middle) / 2)


def unserved(phases: Phases, seen: list[Seen], priority: str) -> float:
    """The share of the requests of this priority that had no right answer during the fault."""
    sent = [one for one in seen if one.priority == priority and phases.fault(one.sent)]
    return sum(not one.good for one in sent) / max(1, len(sent))


def unclean(seen: list[Seen]) -> int:
    """Requests that got neither a right answer, nor a default, nor a proper error in time."""
    return sum(
        not (one.good or one.kind == "default" or (one.kind.isdigit() and one.took <= LATE))
        for one in seen
    )

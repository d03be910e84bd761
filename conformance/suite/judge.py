"""Holds the numbers of a row against its criteria, the same for every gateway."""

import dataclasses

from . import measure
from .scene import Evidence

# A server that gets less than this of an even share has lost its traffic.
KEPT = 1 / 3


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One line of results.json, and why it did not pass."""

    fault: str
    protocol: str
    gateway: str
    passed: bool
    client_saw: str
    detect_ms: int | None
    recover_ms: int | None
    attempts: dict[str, int]
    duplicates: int
    amplification: float
    explained: bool
    because: tuple[str, ...]

    def line(self) -> dict:
        """As results.json has it."""
        line = dataclasses.asdict(self)
        line["pass"] = line.pop("passed")
        del line["because"]
        order = ("fault", "protocol", "gateway", "pass")
        return {key: line[key] for key in order} | line


def judge(gateway: str, evidence: Evidence) -> Verdict:
    """What came of one row."""
    row, phases, seen, attempts = (
        evidence.row, evidence.phases, evidence.seen, evidence.attempts
    )
    concerned = measure.clients(phases, seen)
    detect = measure.detection(row, phases, seen, attempts)
    recover = measure.recovery(row, phases, attempts)
    because = _faults(evidence, concerned, detect, recover)
    shown = row.criteria.keeps == () or row.model is not None
    return Verdict(
        row.name, "oip-http", gateway, not because, measure.told(concerned),
        _ms(detect) if shown and not row.criteria.clean else None,
        _ms(recover) if shown else None,
        measure.by_server(phases, attempts),
        measure.duplicates(phases, seen, attempts),
        round(measure.amplification(phases, seen, attempts), 3),
        evidence.explained, tuple(because),
    )


def _faults(evidence: Evidence, concerned, detect, recover) -> list[str]:
    row, phases, attempts = evidence.row, evidence.phases, evidence.attempts
    wanted = row.criteria
    found = []
    bad = sum(not one.good for one in concerned)
    if wanted.errors is not None and bad > wanted.errors * len(concerned):
        found.append(f"{bad} of {len(concerned)} requests without a right answer in time")
    if wanted.clean and (unclean := measure.unclean(concerned)):
        found.append(f"{unclean} requests neither answered nor properly refused in time")
    if wanted.detect is not None and (detect is None or detect > wanted.detect):
        found.append("still asked after " + _seconds(detect, phases.repaired - phases.began))
    if wanted.recover is not None and (recover is None or recover > wanted.recover):
        found.append("not back after " + _seconds(recover, phases.ended - phases.repaired))
    amplification = measure.amplification(phases, evidence.seen, attempts)
    if wanted.amplification is not None and amplification > wanted.amplification:
        found.append(f"{amplification:.2f} attempts for a request")
    return found + _special(evidence)


def _special(evidence: Evidence) -> list[str]:
    row, phases, attempts = evidence.row, evidence.phases, evidence.attempts
    wanted = row.criteria
    found = []
    for server, model in wanted.keeps:
        kept = measure.kept(row, phases, attempts, server, model)
        if kept < KEPT:
            found.append(f"{server} kept {kept:.0%} of its share of {model}, and is well")
    if wanted.goodput is not None:
        good = measure.goodput(phases, evidence.seen)
        if good < wanted.goodput:
            found.append(f"{good:.0f} right answers a second of {wanted.goodput:.0f}")
    if wanted.slower is not None:
        slower = measure.slower(phases, evidence.seen)
        if slower > wanted.slower:
            found.append(f"after 10 s the 99th percentile is {slower:.1f} times what it was")
    if wanted.herd is not None:
        herd = measure.herd(row, phases, attempts)
        if herd > wanted.herd:
            found.append(f"{herd:.1f} times its share in a second after its return")
    if wanted.urgent is not None:
        lost = measure.unserved(phases, evidence.seen, "high")
        if lost > wanted.urgent:
            found.append(f"{lost:.1%} of the requests that matter without a right answer")
    if wanted.others is not None:
        served = 1 - measure.unserved(phases, evidence.seen, "low")
        if served < wanted.others:
            found.append(f"{served:.0%} of the other requests had a right answer")
    if wanted.flaps is not None:
        flaps = measure.flaps(row, phases, attempts)
        if flaps > wanted.flaps:
            found.append(f"{flaps:.0%} of its share while it was bad again")
    return found


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1e3)


def _seconds(reached: float | None, looked: float) -> str:
    return f"{looked:.1f} s" if reached is None else f"{reached:.1f} s"

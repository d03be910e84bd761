"""Medians over the rounds, and their ratios to the best peer and to no proxy."""

import dataclasses
import statistics

from .measure import MODES, Sample
from .proxies import PEERS
from .scenario import GRPC, SCENARIOS

# Below this share of the offered rate a proxy counts as saturated at half load.
HELD = 0.95


@dataclasses.dataclass(frozen=True)
class Row:
    """One proxy in one scenario and mode: medians over the rounds."""

    proxy: str
    scenario: str
    mode: str
    per_second: float
    spread: float
    cpu_us: float | None
    p50_us: float
    p99_us: float
    errors: int
    held: bool
    # Ratios; above 1 is better than the best peer (more requests, or less CPU).
    to_best_peer: float | None = None
    cpu_to_best_peer: float | None = None
    to_direct: float | None = None


def rows(samples: list[Sample]) -> list[Row]:
    """Every proxy, scenario and mode with its ratios, in the order of the report."""
    result = []
    for scenario in (*SCENARIOS, *GRPC):
        for mode in MODES:
            cell = [s for s in samples if (s.scenario, s.mode) == (scenario.name, mode)]
            result += _with_ratios(_medians(cell))
    return result


def _medians(cell: list[Sample]) -> list[Row]:
    names = list(dict.fromkeys(sample.proxy for sample in cell))
    return [_median([sample for sample in cell if sample.proxy == name]) for name in names]


def _median(samples: list[Sample]) -> Row:
    first = samples[0]
    rate = statistics.median(sample.per_second for sample in samples)
    cpu = [sample.cpu_us for sample in samples if sample.cpu_us is not None]
    rates = sorted(sample.per_second for sample in samples)
    return Row(
        proxy=first.proxy,
        scenario=first.scenario,
        mode=first.mode,
        per_second=rate,
        spread=(rates[-1] - rates[0]) / rate if rate else 0.0,
        cpu_us=statistics.median(cpu) if cpu else None,
        p50_us=statistics.median(sample.p50_us for sample in samples),
        p99_us=statistics.median(sample.p99_us for sample in samples),
        errors=sum(sample.errors for sample in samples),
        held=first.offered is None or rate >= HELD * first.offered,
    )


def _with_ratios(found: list[Row]) -> list[Row]:
    peers = [row for row in found if row.proxy in PEERS]
    direct = next((row for row in found if row.proxy == "direct"), None)
    best_rate = max((row.per_second for row in peers), default=None)
    best_cpu = min((row.cpu_us for row in peers if row.cpu_us), default=None)
    return [
        dataclasses.replace(
            row,
            to_best_peer=row.per_second / best_rate if best_rate else None,
            cpu_to_best_peer=best_cpu / row.cpu_us if best_cpu and row.cpu_us else None,
            to_direct=row.per_second / direct.per_second if direct else None,
        )
        for row in found
    ]

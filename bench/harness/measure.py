"""The measurement: interleaved rounds, their order reversed each time.

Machines slow down and speed up for reasons of their own. Each round visits every proxy, every
second round in the opposite order, so that a drift meets all alike, and medians over the rounds
are compared.
"""

import dataclasses
import pathlib
from collections.abc import Callable

from . import load
from .proxies import Running
from .scenario import SCENARIOS, Scenario

SATURATED = "saturation"
HALF = "half"
MODES = (SATURATED, HALF)


@dataclasses.dataclass(frozen=True)
class Plan:
    """How long, how often, and on which core."""

    rounds: int
    seconds: float
    load_core: int
    folder: pathlib.Path
    scenarios: tuple[Scenario, ...] = SCENARIOS


@dataclasses.dataclass(frozen=True)
class Sample:
    """One proxy in one scenario and mode, once."""

    proxy: str
    scenario: str
    mode: str
    per_second: float
    offered: float | None
    cpu_us: float | None
    p50_us: float
    p99_us: float
    requests: int
    errors: int


def calibrate(plan: Plan, proxies: list[Running]) -> dict[str, float]:
    """Warms every proxy up, and gives half of the best proxy's rate for each scenario."""
    rates = {}
    for scenario in plan.scenarios:
        reached = {}
        for proxy in proxies:
            seen = load.saturate(scenario, proxy.port, 2, plan.load_core, plan.folder)
            reached[proxy.name] = seen.per_second
        behind = [rate for name, rate in reached.items() if name != "direct"]
        rates[scenario.name] = max(behind or reached.values()) / 2
    return rates


def rounds(
    plan: Plan, proxies: list[Running], rates: dict[str, float], tell: Callable[[str], None]
) -> list[Sample]:
    """Every sample of the run."""
    samples = []
    for number in range(plan.rounds):
        order = proxies if number % 2 == 0 else proxies[::-1]
        tell(f"round {number + 1} of {plan.rounds}: {', '.join(proxy.name for proxy in order)}")
        for scenario in plan.scenarios:
            for mode in MODES:
                offered = rates[scenario.name] if mode == HALF else None
                samples += [_sample(plan, proxy, scenario, offered) for proxy in order]
    return samples


def _sample(plan: Plan, proxy: Running, scenario: Scenario, offered: float | None) -> Sample:
    before = _cpu(proxy)
    if offered is None:
        seen = load.saturate(scenario, proxy.port, plan.seconds, plan.load_core, plan.folder)
    else:
        seen = load.at_rate(
            scenario, proxy.port, plan.seconds, offered, plan.load_core, plan.folder
        )
    after = _cpu(proxy)
    used = None
    if before is not None and after is not None and seen.requests:
        used = (after - before) * 1e6 / seen.requests
    return Sample(
        proxy=proxy.name,
        scenario=scenario.name,
        mode=SATURATED if offered is None else HALF,
        per_second=seen.per_second,
        offered=offered,
        cpu_us=used,
        p50_us=seen.p50_us,
        p99_us=seen.p99_us,
        requests=seen.requests,
        errors=seen.errors,
    )


def _cpu(proxy: Running) -> float | None:
    return proxy.process.cpu_seconds() if proxy.process else None

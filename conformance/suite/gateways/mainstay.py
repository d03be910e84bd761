"""Mainstay with its defaults, a fallback chain, and what its answers must hold to count.

Nothing of health, breakers, balance or retries is tuned for the suite. Its admin listener is asked
whether it can explain what happened.
"""

import json
import os
import pathlib
import re
import urllib.error
import urllib.request

from ..load import DEADLINE, DEFAULT, SURE, Seen
from .gateway import Gateway, Place, Reload, Site

ROOT = pathlib.Path(__file__).resolve().parents[3]
ASK_LIMIT = 5.0


def find() -> str | None:
    """MAINSTAY_BIN, else the release program, else the debug program."""
    named = os.environ.get("MAINSTAY_BIN")
    if named:
        return named
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = (target / profile / "mainstay" for profile in ("release", "debug"))
    return next((str(path) for path in built if path.exists()), None)


def _endpoint(place: Place) -> dict:
    endpoint = {"url": f"http://127.0.0.1:{place.port}", "name": place.name}
    return endpoint if place.near else endpoint | {"zone": "far"}


def _config(site: Site) -> str:
    sure = {"output": "probabilities", "at-least": SURE}
    model = {
        "deadline": f"{int(DEADLINE * 1e3)}ms",
        "outputs": {
            "y": {"datatype": "FP32", "shape": [-1]},
            "probabilities": {"datatype": "FP32", "shape": [-1, 2]},
        },
        "batch": "first-dimension",
        "guards": {"finite": True, "shape": "declared"},
        "chain": [
            {"pool": "first", "confidence": sure},
            {"pool": "backup"},
            {"default": {"y": DEFAULT, "probabilities": [0.5, 0.5]}},
        ],
    }
    listen = {"http": f"127.0.0.1:{site.port}"}
    if site.priorities:
        listen["priority-header"] = {"trusted": ["127.0.0.0/8"]}
    config = {
        "node": {"region": "here", "zone": "near"} if site.farther else {},
        "listen": listen,
        "admin": {"address": f"127.0.0.1:{site.admin}"},
        "state-dir": str(site.folder / "state"),
        "workers": 1,
        "pools": {
            "first": {"flavour": "triton", "endpoints": [_endpoint(p) for p in site.first]},
            "backup": {"flavour": "triton", "endpoints": [_endpoint(site.backup)]},
        },
        "models": {name: model for name in site.models},
    }
    return json.dumps(config, indent=1)


def _ask(site: Site, path: str) -> dict:
    url = f"http://127.0.0.1:{site.admin}{path}"
    with urllib.request.urlopen(url, timeout=ASK_LIMIT) as answer:
        return json.load(answer)


def explain(site: Site, sample: list[Seen], faulty: list[str]) -> bool:
    """Whether each answer's record says what a faulty endpoint had to do with it.

    Where no request met a fault, an event must name the endpoint and its cause.
    """
    try:
        events = _ask(site, "/api/events?since=0")["events"]
        told = any(_tells(event, faulty) for event in events)
        return all(_explains(site, seen, faulty, told) for seen in sample) if sample else told
    except (urllib.error.URLError, TimeoutError, ValueError, KeyError):
        return False


def _explains(site: Site, seen: Seen, faulty: list[str], told: bool) -> bool:
    """An endpoint was asked, why, and what went wrong; or it was passed over; or none was left."""
    record = _ask(site, f"/api/requests/{seen.headers['x-mainstay-request-id']}")
    if record["reason"] == "no-endpoint" and told:
        return True
    return any(_names(record, attempt, faulty) for attempt in record["attempts"])


def _names(record: dict, attempt: dict, faulty: list[str]) -> bool:
    asked = attempt["endpoint"] in faulty and attempt["why"]
    over = {name for names in attempt["skipped"].values() for name in names}
    return bool(asked and (attempt["class"] or record["reason"])) or not over.isdisjoint(faulty)


def _tells(event: dict, faulty: list[str]) -> bool:
    words = re.split(r"[^\w-]+", event["subject"])
    return bool(event["cause"]) and any(name in words for name in faulty)


GATEWAY = Gateway(
    "mainstay", find, "mainstay.yaml", _config,
    lambda binary, config: [binary, "serve", "--config", str(config)],
    explain=explain, reload=Reload(),
)

"""Where the harness finds and keeps its files."""

import os
import pathlib

BENCH = pathlib.Path(__file__).resolve().parent.parent
ROOT = BENCH.parent
CACHE = BENCH / ".cache"
RESULTS_TEXT = BENCH / "RESULTS.md"
RESULTS_DATA = BENCH / "results.json"
INSTRUCTIONS = BENCH / "instructions.json"
SOAK = BENCH / "SOAK.md"
RELOADS = BENCH / "RELOADS.md"
SCALE = BENCH / "SCALE.md"


def mainstay_binary() -> pathlib.Path:
    """The release binary: MAINSTAY_BIN, or cargo's target folder."""
    named = os.environ.get("MAINSTAY_BIN")
    if named:
        return pathlib.Path(named)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "release" / "mainstay"

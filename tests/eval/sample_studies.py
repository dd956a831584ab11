"""Recordings of Figure 3 and measurements of staleness, for the tests of the report."""

from typing import Any

import numpy as np
import pandas

from eval.report.studies.recording import DESTINATION, MERGED, Panel, Recording
from eval.report.studies.staleness import COLUMNS, Staleness
from tests.eval.sample_records import make_config

PROVENANCE = {"date": "2026-11-20T10:00:00+00:00", "git": {"sha": "d" * 40, "dirty": False, "reason": None}}
SITES = (("down.0", "down", 8, 2), ("mid.0", "mid", 4, 4), ("up.0", "up", 8, 2))
CALLS = {0: 0, 2: 600}  # denoiser call: step asked for


def make_recording(name: str = "tiny_retom-0123456789ab", **changes: Any) -> Recording:
    panels = tuple(
        _panel(layer, *site, call, asked) for layer, site in enumerate(SITES) for call, asked in CALLS.items()
    )
    plain = {
        "name": name,
        "method": "retom",
        "prompt": "a <b>bold</b> tench",
        "seed": 3,
        "of": 1000,
        "steps": 4,
        "measured": "measured on the attention's input, in the half with the prompt",
        "config": make_config(),
        "provenance": PROVENANCE,
        "image": np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8),
        "panels": panels,
    }
    return Recording(**plain | changes)


def _panel(layer: int, site: str, layer_type: str, grid: int, side: int, call: int, asked: int) -> Panel:
    tokens = np.random.default_rng(layer).normal(size=(side * side, 5))
    unit = tokens / np.linalg.norm(tokens, axis=1, keepdims=True)
    state = np.zeros((grid, grid), dtype=np.uint8)
    state[::side, ::side] = DESTINATION
    state[1::side, ::side] = MERGED
    return Panel(
        site=site,
        layer=layer,
        layer_type=layer_type,
        grid=(grid, grid),
        asked=asked,
        step=call,
        planned=0,
        side=side,
        window=(0, 0, side, side),
        similarity=(unit @ unit.T).astype(np.float16).astype(np.float32),
        state=state,
    )


def make_staleness(name: str = "tiny_0123456789ab", **changes: Any) -> Staleness:
    """Two sites below and one in the middle; a choice loses a tenth of its windows with every step of age."""
    lines = [
        (3, step, step % 3, site, kind, windows, step % 3 / 10 + extra)
        for step in range(6)
        for site, kind, windows, extra in (
            ("down.0", "down", 30, 0.0),
            ("down.1", "down", 10, 0.2),
            ("mid.0", "mid", 1, 0.0),
        )
    ]
    table = pandas.DataFrame(lines, columns=list(COLUMNS))
    return Staleness(**{"name": name, "config": make_config(), "provenance": PROVENANCE, "table": table} | changes)

"""Rows that were run with several seeds of their prompts: which records belong together, and how far they scatter.

The interval of a value covers other classes; the scatter between seeds covers other noise for the same classes.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from eval.errors import RunError
from eval.records import run_id
from eval.records.canonical import PIXEL_KEYS, canonical_json, pixel_options
from eval.tables.selection import one_per_run


def by_row(records: Sequence[dict], seeds: Sequence[int]) -> tuple[list[dict], dict[str, list[dict]]]:
    """The records of the first seed, and by their run ids those of all `seeds` with the same row, in their order.

    Failed records are left out of the latter. RunError: a seed is listed twice, or two records of a row differ in more
    of their protocol than the prompts' hash.
    """
    if len(set(seeds)) < len(seeds):
        raise RunError(f"seeds must differ from one another, got {', '.join(map(str, seeds))}")
    rows: dict[tuple[str, str], dict[int, dict]] = {}
    for record in one_per_run(records):
        seed = record["config"]["prompts"].get("seed")
        if seed in seeds:
            rows.setdefault((record["method"], _row(record["config"])), {})[seed] = record
    found = {}
    for row in rows.values():
        if seeds[0] in row:
            first = row[seeds[0]]
            group = [row[seed] for seed in seeds if seed in row and row[seed]["status"] != "failed"]
            _refuse_other_protocols(first, group)
            found[run_id(first)] = group
    return [row[seeds[0]] for row in rows.values() if seeds[0] in row], found


def spread(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Mean and standard deviation (n - 1) of the values that are not None; None for fewer than one or two."""
    there = [value for value in values if value is not None]
    if not there:
        return None, None
    return statistics.fmean(there), statistics.stdev(there) if len(there) > 1 else None


def _row(config: Mapping) -> str:
    chosen: dict[str, Any] = {key: config[key] for key in PIXEL_KEYS}
    chosen["sampler"] = pixel_options(chosen["sampler"])
    chosen["prompts"] = {key: value for key, value in chosen["prompts"].items() if key != "seed"}
    return canonical_json(chosen)


def _refuse_other_protocols(first: dict, group: Sequence[dict]) -> None:
    def rest(record: dict) -> str:
        return canonical_json({key: value for key, value in record["protocol"].items() if key != "prompts_hash"})

    for record in group:
        if first["status"] != "failed" and rest(record) != rest(first):
            raise RunError(
                f"{run_id(record)} and {run_id(first)} differ in more of their protocol than the seed; "
                f"run both again with the same choices"
            )

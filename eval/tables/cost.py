"""What a row costs next to the baseline: its speed-up, and the share of tokens that attention runs on."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from eval.judging.gates import BASELINE
from eval.records.canonical import mapping_or_empty
from eval.tables.spec import SECONDS

if TYPE_CHECKING:
    from eval.tables import Line, Table


def baseline_line(table: "Table") -> "Line | None":
    """The row of the baseline, if the table has one with a record."""
    return next((line for line in table.lines if line.record and line.record["method"] == BASELINE), None)


def speed_up(table: "Table", line: "Line") -> float | None:
    """The baseline's seconds per image over the row's; None where either was not timed."""
    base = baseline_line(table)
    seconds = [None if each is None else each.cells.get(SECONDS) for each in (base, line)]
    return seconds[0] / seconds[1] if all(seconds) else None


def tokens_kept(record: Mapping | None) -> float | None:
    """The share of tokens that attention runs on, over all sites and denoiser calls; None where it is not known.

    Of a ratio that changes over the steps, the record has the last one alone.
    """
    if record is None or record["status"] == "failed":
        return None
    if record["method"] == BASELINE:
        return 1.0
    sites = [site for site in record["merges"] if site.get("tokens") and site.get("merged")]
    if not sites:
        return None
    steps = mapping_or_empty(record["config"].get("sampler")).get("steps")
    calls = max(_planned(site) for site in sites)
    calls = max(calls, steps) if isinstance(steps, int) else calls
    return sum(_share(site, calls) * site["tokens"] for site in sites) / sum(site["tokens"] for site in sites)


def _planned(site: Mapping) -> int:
    return (site.get("plans_computed") or 0) + (site.get("plans_reused") or 0)


def _share(site: Mapping, calls: int) -> float:
    """Of one site. A call without a plan runs on all tokens; a site that merges without plans does so at every call."""
    if site["merged"] == site["tokens"]:
        # A site that merges nothing and yet reuses was left out at these calls (DeepCache).
        return 1 - (site.get("plans_reused") or 0) / calls if calls else 1.0
    planned = _planned(site) / calls if _planned(site) else 1.0  # the oracle makes no plans
    return 1 - planned * (1 - site["merged"] / site["tokens"])

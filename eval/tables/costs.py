"""What a row saves, from its record: speed-up over the baseline and the share of tokens that attention runs on.

`COSTS` are the columns of every table that are computed from records. The next one is a function and a line there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from eval.records.canonical import flat_options, mapping_or_empty
from eval.tables.spec import SECONDS

SPEED_UP, TOKENS_KEPT = "speed_up", "tokens_kept"


def speed_up(record: Mapping, baseline: Mapping | None) -> float | None:
    """The baseline's time per image over this row's; None where one of the two was not timed."""
    times = [None if one is None or one["timing"] is None else one["timing"][SECONDS] for one in (baseline, record)]
    return times[0] / times[1] if all(times) else None


def tokens_kept(record: Mapping) -> float | None:
    """The share of tokens that attention runs on, over the patched sites and the denoiser calls of one image.

    1 where nothing is patched. A record has the count of the last plan alone, so None where it changes over the steps:
    for a method whose options have a ratio, but not as one number. None also for a failed row, and where no site
    reports its tokens.
    """
    if record["status"] == "failed" or _changes(record["config"]["method"]):
        return None
    sites = [site for site in record["merges"] if site.get("tokens") and site.get("merged") is not None]
    if not sites:
        return None if record["merges"] else 1.0
    steps = mapping_or_empty(record["config"].get("sampler")).get("steps") or 1
    calls = max(steps, *(_planned_calls(site) for site in sites))
    return sum(_share(site, calls) * site["tokens"] for site in sites) / sum(site["tokens"] for site in sites)


def largest_site(record: Mapping) -> int | None:
    """The most tokens that a patched site has; None where none is reported."""
    return max((site["tokens"] for site in record["merges"] if site.get("tokens")), default=None)


def _changes(options: Mapping) -> bool:
    named = [key for key in flat_options(options) if "ratio" in key.split(".")]
    return bool(named) and not isinstance(options.get("ratio"), int | float)


@dataclass(frozen=True)
class Cost:
    """A column: its heading, the format of its numbers, and the value of a row's record and the baseline's (or None).

    better: "lower", "higher", or None for no arrow and no best. timed: only of tables that have the time per image.
    """

    heading: str
    form: str
    value: Callable[[Mapping, Mapping | None], float | None]
    better: str | None = None
    timed: bool = False


COSTS = {
    SPEED_UP: Cost("Speed-up", "{:.2f}x", speed_up, better="higher", timed=True),
    TOKENS_KEPT: Cost("Tokens kept", "{:.0%}", lambda record, baseline: tokens_kept(record)),
}


def _planned_calls(site: Mapping) -> int:
    return (site.get("plans_computed") or 0) + (site.get("plans_reused") or 0)


def _share(site: Mapping, calls: int) -> float:
    """Of one site. A call without a plan runs on all tokens; a site that merges without plans does so at every call."""
    if site["merged"] == site["tokens"]:
        # A site that merges nothing and yet reuses did not run at these calls (DeepCache).
        return 1 - (site.get("plans_reused") or 0) / calls
    planned = _planned_calls(site) / calls or 1.0  # the oracle makes no plans
    return 1 - planned * (1 - site["merged"] / site["tokens"])

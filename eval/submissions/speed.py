"""Faster than free merging is impossible: a submission's seconds against those of its own `oracle`.

The oracle (baselines/oracle.py) shortens the sequence without choosing tokens. A method that leaves as many tokens does
at least that work. Where a shortened call costs more than a plain one, as in small models, a method is faster at the
sites it leaves alone, so the bound is the faster of `oracle` and `none`.
"""

import statistics
from collections.abc import Iterable, Mapping

from eval.errors import RunError
from eval.metrics.stats import median_interval
from eval.records.canonical import flat_options

# Two runs of the same code differ by this share on an idle machine, and deep sites can lose what the top level gains.
DRIFT = 0.05


def merges(record: Mapping) -> bool:
    """Whether attention ran on fewer tokens at any site."""
    return any(_left(site) < 1 for site in record["merges"])


def bounds(oracle: Mapping, record: Mapping) -> bool:
    """Whether `oracle` leaves as few tokens as `record` everywhere: only then it is a bound on its seconds."""
    free = {site["site"]: _left(site) for site in oracle["merges"] if "site" in site}
    here = all(free.get(site.get("site"), 1.0) <= _left(site) for site in record["merges"])
    return here and largest_ratio(oracle) >= largest_ratio(record)


def largest_ratio(record: Mapping) -> float:
    """The largest `ratio` among the method's options, at any depth; 0 where it has none."""
    options = flat_options(record["config"]["method"])
    ratios = [value for key, value in options.items() if key.rpartition(".")[2] == "ratio"]
    return max((ratio for ratio in ratios if isinstance(ratio, int | float)), default=0)


def best_bound(oracles: Iterable[Mapping], record: Mapping) -> Mapping | None:
    """Of the records that bound `record` the one that removes least; None where there is none."""
    return min((oracle for oracle in oracles if bounds(oracle, record)), key=largest_ratio, default=None)


def idle(record: Mapping) -> bool:
    """Whether it was timed, with the device at no other work."""
    return record["timing"] is not None and record["timing"].get("quiet") is True


def check_seconds(record: Mapping, wanted: int) -> None:
    """RunError: seconds that do not follow from the raw ones, or fewer images timed than `wanted`."""
    timing = record["timing"]
    single = [batch for batch in timing["batches"] if batch["batch_size"] == 1] if timing else []
    if not single or len(single[0]["seconds"]) < wanted:
        raise RunError(
            f"{record['method']} timed {len(single[0]['seconds']) if single else 0} images at batch 1; the protocol "
            f"asks for {wanted}: run it again with timing.images={wanted}"
        )
    median = statistics.median(single[0]["seconds"])
    if timing["s_per_im"] != median or single[0].get("median", median) != median:
        raise RunError(
            f"s_per_im of {record['method']} is {timing['s_per_im']:.6g}, but the median of its raw seconds is "
            f"{median:.6g}; submit the record as the run wrote it"
        )


def check_not_faster_than_free(record: Mapping, none: Mapping, oracle: Mapping) -> None:
    """RunError: `oracle` is no bound for this record, or the record is faster than it beyond noise.

    Seconds of a busy device bound nothing: such a record has no place by speed, and only its tokens are compared.
    """
    if not merges(record):
        return
    if not bounds(oracle, record):
        raise RunError(
            f"oracle.json leaves more tokens than {record['method']} does; run method=oracle with "
            f"method.ratio={largest_ratio(record):g} and the same choices, and pack again"
        )
    if not all(idle(one) for one in (record, none, oracle)):
        return
    _, high = _interval(record)
    low = min(_interval(none)[0], _interval(oracle)[0])
    if high < (1 - DRIFT) * low:
        raise RunError(
            f"{record['method']} takes {record['timing']['s_per_im']:.4g} s per image and free merging "
            f"{oracle['timing']['s_per_im']:.4g} s (none: {none['timing']['s_per_im']:.4g} s); faster than free is "
            "impossible: time all three again on the idle device with timing.again=true"
        )


def _left(site: Mapping) -> float:
    return site["merged"] / site["tokens"] if site.get("tokens") and site.get("merged") is not None else 1.0


def _interval(record: Mapping) -> tuple[float, float]:
    """95% interval of the median of the raw seconds; their range where they are too few for one."""
    seconds = next(batch["seconds"] for batch in record["timing"]["batches"] if batch["batch_size"] == 1)
    low, high = median_interval(seconds) or (min(seconds), max(seconds))
    return low, high

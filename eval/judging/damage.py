"""Does damage grow with the ratio, and does the choice of destination matter? Paired differences, reported as they are.

A pair is two runs of the same prompts and seeds, compared in one metric. Of a pair of ratios, damage is expected to be
more at the higher one: a lower SSIM, a higher distance. Of a pair of destinations nothing is expected.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

from eval.tables.formats import interval, number

# By metric the sign of a difference that means more damage. `fid_smoke_unmerged` is the distance to the baseline's
# images, `fid_smoke` that to real images, which merging may even reduce.
WORSE = {"ssim": -1, "fid_smoke_unmerged": 1, "fid_smoke": 1}
HEADINGS = {
    "ssim": "SSIM to the baseline's images (falls with damage)",
    "fid_smoke_unmerged": "Distance to the baseline's images (rises with damage)",
    "fid_smoke": "Distance to real images",
}
GROWS, IN_VALUE, FALLS, UNCLEAR = "grows", "grows in value only", "falls", "unclear"
Label = Callable[[str], str]
WORDS = {1: "more", -1: "less", 0: "undecided"}  # of the first run of a pair, against the other


@dataclass(frozen=True)
class Run:
    """One run of the sweep: a method at a ratio, and the id of its folder."""

    method: str
    ratio: float
    run_id: str


@dataclass(frozen=True)
class Pair:
    """`run` minus `against` in `metric`, with its 95% interval (None, None where there is none); n images each."""

    metric: str
    run: Run
    against: Run
    difference: float
    low: float | None
    high: float | None
    n: int

    @property
    def sign(self) -> int:
        """+1 for more damage, -1 for less, 0 where the interval contains 0 or is absent."""
        if self.low is None or self.high is None or self.low <= 0 <= self.high:
            return 0
        return WORSE[self.metric] if self.difference > 0 else -WORSE[self.metric]

    def row(self) -> dict:
        """The line of the CSV file."""
        against = {f"against_{key}": value for key, value in asdict(self.against).items()}
        ends = {"difference": self.difference, "low": self.low, "high": self.high}
        return {"metric": self.metric, **asdict(self.run), **against, **ends, "damage": WORDS[self.sign], "n": self.n}


def steps_of(runs: Iterable[Run]) -> list[tuple[Run, Run]]:
    """Of each method, every run with that of the next lower ratio."""
    by_method: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: (run.method, run.ratio)):
        by_method.setdefault(run.method, []).append(run)
    return [(higher, lower) for group in by_method.values() for lower, higher in pairwise(group)]


def rivals_of(runs: Iterable[Run], first: str, others: Sequence[str]) -> list[tuple[Run, Run]]:
    """At each ratio, the run of `first` with those of `others`."""
    found = {(run.method, run.ratio): run for run in runs}
    ours = sorted((run for run in found.values() if run.method == first), key=lambda run: run.ratio)
    return [(run, found[other, run.ratio]) for run in ours for other in others if (other, run.ratio) in found]


def growth(pairs: Sequence[Pair]) -> str:
    """Of one method and metric, over all steps of the ratio: whether damage grows.

    "grows" or "falls" where every step's interval says so; "grows in value only" where every step has more damage and
    some interval contains 0; "unclear" otherwise.
    """
    signs = {pair.sign for pair in pairs}
    if signs in ({1}, {-1}):
        return GROWS if signs == {1} else FALLS
    more = all(pair.difference * WORSE[pair.metric] > 0 for pair in pairs)
    return IN_VALUE if pairs and more else UNCLEAR


def render(
    title: str,
    values: Mapping[str, Mapping[Run, float]],
    steps: Sequence[Pair],
    rivals: Sequence[Pair],
    notes: Sequence[str],
    label: Label,
) -> str:
    """The page: growth by method, then the destinations; `values` [metric][run]; `notes` below it.

    label: the name of a method.
    """
    parts = [
        f"# {title}",
        "## Summary",
        "\n".join(f"- {line}" for line in growth_lines(steps, label)),
        "## With the ratio",
        *(f"### {HEADINGS[metric]}\n\n{_growth_table(metric, values[metric], steps, label)}" for metric in WORSE),
        "## By destination",
        _rivals_table(rivals, label),
        "## Provenance",
        "\n".join(f"- {note}" for note in notes),
    ]
    return "\n\n".join(parts) + "\n"


def _growth_table(metric: str, values: Mapping[Run, float], steps: Sequence[Pair], label: Label) -> str:
    heads = ["Method", "Ratios", metric, "From each ratio to the next", "Damage"]
    lines = [heads, ["---"] * len(heads)]
    for method in dict.fromkeys(pair.run.method for pair in steps):
        runs = sorted((run for run in values if run.method == method), key=lambda run: run.ratio)
        own = [pair for pair in steps if (pair.run.method, pair.metric) == (method, metric)]
        ratios, numbers = (f"{run.ratio:g}" for run in runs), (number(metric, values[run]) for run in runs)
        lines.append(
            [label(method), ", ".join(ratios), ", ".join(numbers), ", ".join(map(_estimate, own)), growth(own)]
        )
    return _table(lines)


def growth_lines(steps: Sequence[Pair], label: Label) -> list[str]:
    """For each metric, of which methods the damage grows, and what "grows" means."""
    methods = list(dict.fromkeys(pair.run.method for pair in steps))
    lines = []
    for metric in WORSE:
        found = {
            method: growth([pair for pair in steps if (pair.run.method, pair.metric) == (method, metric)])
            for method in methods
        }
        parts = [
            f"{verdict} for {len(names)} ({', '.join(map(label, names))})"
            for verdict in (GROWS, IN_VALUE, FALLS, UNCLEAR)
            if (names := [method for method in methods if found[method] == verdict])
        ]
        lines.append(f"Damage in {metric}, of {len(methods)} methods: {'; '.join(parts)}.")
    return [
        *lines,
        "*grows*: at every step of the ratio the interval of the paired difference excludes 0 on that side; "
        "*grows in value only*: every step has more damage, but not every interval excludes 0.",
    ]


def _rivals_table(rivals: Sequence[Pair], label: Label) -> str:
    heads = ["Run", "Against", "Ratio", "Metric", "Paired difference", "Damage"]
    lines = [heads, ["---"] * len(heads)]
    for pair in rivals:
        ratio, verdict = f"{pair.run.ratio:g}", WORDS[pair.sign]
        lines.append([label(pair.run.method), label(pair.against.method), ratio, pair.metric, _estimate(pair), verdict])
    return _table(lines)


def _estimate(pair: Pair) -> str:
    ends = interval(pair.metric, pair.low, pair.high, "+")
    return f"{number(pair.metric, pair.difference, '+')} {ends}".strip()


def _table(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)

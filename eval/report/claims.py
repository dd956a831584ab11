"""The paper's claims with their verdicts, as `scripts.claims` saved them, where they fit the records of the page."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.errors import RunError
from eval.judging.claim import CONTRADICTED, SUPPORTED, UNDECIDED, Claim
from eval.report.gather import Gathered
from eval.report.typography import interval, rounded
from eval.tables.formats import heading
from eval.tables.spec import SECONDS

FILE = "claims.json"
ORDER = (SUPPORTED, CONTRADICTED, UNDECIDED)


@dataclass(frozen=True)
class Verdict:
    """One claim as text. `paper`: the paper's own two values; holds: whether the claim holds in them (None: no values).

    why: why it is undecided, where its numbers alone do not say so.
    """

    text: str
    verdict: str
    metric: str
    ours: str
    base: str
    difference: str
    interval: str
    paper: str
    holds: bool | None
    why: str


@dataclass(frozen=True)
class Claims:
    """`found`: supported ones first, then contradicted, then undecided. note: why there are none."""

    found: tuple[Verdict, ...] = ()
    note: str = ""

    @property
    def counts(self) -> list[tuple[str, int]]:
        """(verdict, number of claims), also of verdicts without a claim."""
        return [(verdict, sum(claim.verdict == verdict for claim in self.found)) for verdict in ORDER]


def read_claims(path: Path, claims: Sequence[Claim], gathered: Gathered) -> Claims | None:
    """The verdicts in `path`, or a note where it is absent or of other records. None: no claim is about these rows.

    RunError: the file is damaged.
    """
    rows = _rows(gathered)
    if not any({claim.method, claim.against} <= set(rows) for claim in claims):
        return None
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        methods = {method for claim in claims for method in (claim.method, claim.against)}
        if not _fits(data, rows, methods):
            return Claims(note="The saved verdicts are of other runs or older numbers than these tables.")
        found = [_verdict(claim) for claim in data["claims"]]
    except FileNotFoundError:
        return Claims(note="The paper's claims have not been compared with these runs yet.")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path} holds no claims ({error}); write it again: python -m scripts.claims") from error
    return Claims(tuple(sorted(found, key=lambda claim: ORDER.index(claim.verdict))))


def _rows(gathered: Gathered) -> dict[str, tuple[str, Mapping]]:
    """(run id, record) of the first finished row of each method."""
    found: dict[str, tuple[str, Mapping]] = {}
    for entry in gathered.entries:
        if entry.run is not None and entry.line.status != "failed":
            found.setdefault(entry.line.record["method"], (entry.run, entry.line.record))
    return found


def _fits(data: Mapping, rows: Mapping[str, tuple[str, Mapping]], methods: Collection[str]) -> bool:
    """Whether the verdicts are of the runs of `rows` of these methods, and of their records' numbers now."""
    if any(data["runs"].get(method) != run for method, (run, _) in rows.items() if method in methods):
        return False
    return all(
        claim[side] is None or method not in rows or claim[side] == _value(rows[method][1], claim["metric"])
        for claim in data["claims"]
        for side, method in (("ours", claim["method"]), ("base", claim["against"]))
    )


def _value(record: Mapping, metric: str) -> float | None:
    if metric == SECONDS:
        return None if record["timing"] is None else record["timing"][SECONDS]
    return record["metrics"].get(metric, {}).get("value")


def _verdict(claim: Mapping) -> Verdict:
    metric, paper = claim["metric"], claim["paper"]
    if claim["verdict"] not in ORDER:
        raise ValueError(f"the verdict of {claim['text']!r} is {claim['verdict']!r}")
    return Verdict(
        text=str(claim["text"]),
        verdict=claim["verdict"],
        metric=heading(metric),
        ours=rounded(metric, claim["ours"]),
        base=rounded(metric, claim["base"]),
        difference=rounded(metric, claim["difference"], "+"),
        interval=interval(metric, *(claim["interval"] or (None, None)), "+"),
        paper="" if paper is None else f"{rounded(metric, paper['ours'])} / {rounded(metric, paper['base'])}",
        holds=None if paper is None else bool(paper["holds"]),
        why=str(claim["why"] or ""),
    )

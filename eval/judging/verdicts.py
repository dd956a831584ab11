"""Claims, one by one, against our records: supported, contradicted or undecided at 95%, with the numbers.

What a claim is: eval/judging/claim.py. Each claim has its own 95%: they are not corrected for the number of claims.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

from eval.errors import RunError
from eval.judging.claim import CONTRADICTED, SUPPORTED, UNDECIDED, Claim
from eval.metrics.stats import shift
from eval.records import run_id
from eval.records.gates import FAILED, Gate
from eval.tables.footnotes import timed
from eval.tables.formats import heading, interval, number
from eval.tables.spec import SECONDS, TableSpec, metric_name

TICKS = {SUPPORTED: "✓", CONTRADICTED: "✗", UNDECIDED: "?"}

Compare = Callable[[str, str], Mapping[str, Mapping]]


def judge(
    claims: Sequence[Claim],
    specs: Sequence[TableSpec],
    records: Mapping[str, Mapping],
    gates: Sequence[Gate],
    profile: str,
    compare: Compare,
) -> list[dict]:
    """Every claim with its verdict, as plain data.

    records: the finished row of each method. compare(method, against): the paired differences of two rows by metric,
    asked for where no record has them; what it raises (RunError) is why a claim is undecided. A failed gate leaves
    all of them undecided. Methods are named by the tables' labels.
    """
    paper = {(row.method, metric): value for spec in specs for row in spec.rows for metric, value in row.paper.items()}
    failed = [gate.details for gate in gates if gate.status == FAILED]
    found = []
    for claim in claims:
        name = metric_name(claim.metric, profile)
        numbers, why = _numbers(claim, name, records, compare, specs[0].name_of)
        if failed:
            why = f"a gate of the table failed: {'; '.join(failed)}"
        ours = [None if numbers is None else numbers[key] for key in ("ours", "base", "difference", "interval")]
        found.append(
            {
                **asdict(claim),
                "metric": name,
                "verdict": UNDECIDED if why else claim.verdict(*numbers["interval"]),
                **dict(zip(("ours", "base", "difference", "interval"), ours, strict=True)),
                "paper": _paper(claim, paper),
                "why": why,
            }
        )
    return found


def _numbers(
    claim: Claim, name: str, records: Mapping[str, Mapping], compare: Compare, label: Callable[[str], str]
) -> tuple[dict | None, str | None]:
    """The two values, the paired difference and its interval; and why they decide nothing, if so."""
    missing = [method for method in (claim.method, claim.against) if method not in records]
    if missing:
        return None, f"missing rows: {', '.join(map(label, missing))}"
    pair = [records[method] for method in (claim.method, claim.against)]
    if name == SECONDS:
        return _seconds(pair)
    values = [record["metrics"].get(name, {}).get("value") for record in pair]
    for record, value in zip(pair, values, strict=True):
        if value is None:
            return None, f"{run_id(record)} has no {name}"
    # In a sweep the record may have been compared with another run of that method.
    kept = _run((pair[0].get("against") or {}).get(claim.against, "")) == _run(run_id(pair[1]))
    found = pair[0]["metrics"][name]["differences"].get(claim.against) if kept else None
    try:
        found = found or compare(claim.method, claim.against).get(name)
    except RunError as error:
        return None, str(error)
    if found is None:
        return None, f"{run_id(pair[0])} was not compared with {run_id(pair[1])} in {name}"
    numbers = {"ours": values[0], "base": values[1], "difference": found["value"], "interval": found["interval"]}
    return numbers, None if found["interval"] else "too few classes, or too alike, for an interval"


def _run(name: str) -> str:
    """A run id without its experiment: the same run may be in two."""
    return name.rpartition("/")[2]


def _seconds(pair: Sequence[Mapping]) -> tuple[dict | None, str | None]:
    raw = []
    for record in pair:
        batches = [] if record["timing"] is None else record["timing"]["batches"]
        seconds = next((batch["seconds"] for batch in batches if batch["batch_size"] == 1), [])
        if not seconds:
            return None, f"{run_id(record)} was not timed"
        raw.append(seconds)
    busy = [run_id(record) for record in pair if not record["timing"].get("quiet")]
    ways = {timed(record) for record in pair}
    medians = [record["timing"][SECONDS] for record in pair]
    difference, interval = shift(*raw)
    numbers = {"ours": medians[0], "base": medians[1], "difference": difference, "interval": interval}
    if busy:
        return numbers, f"{', '.join(busy)} was timed while the device had other work, or that is not known"
    if len(ways) > 1:
        both = " and ".join(run_id(record) for record in pair)
        return numbers, f"{both} were timed differently (images, warm-up calls or threads)"
    return numbers, None if interval else f"too few timed calls ({len(raw[0])} and {len(raw[1])}) for an interval"


def _paper(claim: Claim, values: Mapping[tuple[str, str], float]) -> dict | None:
    """The paper's own two values and whether the claim holds in them; None where it gives none."""
    ours, base = (values.get((method, claim.metric)) for method in (claim.method, claim.against))
    if ours is None or base is None:
        return None
    return {"ours": ours, "base": base, "holds": claim.holds(ours, base)}


def page(found: Sequence[Mapping], title: str, facts: Sequence[str]) -> str:
    """The claims as Markdown: how many of each verdict, one row each, why some are undecided, then `facts`."""
    lines = [f"# {title}", "", f"{counts(found)}.", ""]
    lines.append("| Verdict | Claim | Metric | Ours | Against | Difference | Paper |")
    lines.append("| --- | --- | --- | ---: | ---: | ---: | --- |")
    lines += [f"| {' | '.join(_cells(claim))} |" for claim in found]
    reasons = [f"- {claim['text']}: {_one_line(claim['why'])}." for claim in found if claim["why"]]
    notes = [f"- {_one_line(fact)}" for fact in facts]
    return "\n".join([*lines, "", *([*reasons, ""] if reasons else []), *notes]) + "\n"


def counts(found: Sequence[Mapping]) -> str:
    """How many claims have each verdict, and at which level."""
    each = ", ".join(f"{sum(c['verdict'] == v for c in found)} {v}" for v in (SUPPORTED, CONTRADICTED, UNDECIDED))
    return f"{each}; each at 95%, not corrected for the number of claims"


def estimate(claim: Mapping) -> str:
    """The paired difference with its interval in brackets, with the decimals of tables; "" where there is none."""
    name, ends = claim["metric"], claim["interval"] or (None, None)
    difference = number(name, claim["difference"], "+")
    return f"{difference} {interval(name, *ends, '+')}".strip()


def _cells(claim: Mapping) -> list[str]:
    name, paper = claim["metric"], claim["paper"]
    ours, base = (number(name, claim[key]) for key in ("ours", "base"))
    theirs = "" if paper is None else f"{paper['ours']:.2f} to {paper['base']:.2f}"
    theirs += "" if paper is None or paper["holds"] else ", does not hold"
    verdict = f"{TICKS[claim['verdict']]} {claim['verdict']}"
    return [verdict, claim["text"], heading(name), ours, base, estimate(claim), theirs]


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "\\<")

"""The head of the page: what was measured, ReToM's numbers next to the baseline's, and what to run next."""

from collections.abc import Mapping
from dataclasses import dataclass

from eval.records import BASELINE
from eval.report.claims import Claims
from eval.report.gather import Entry, Gathered
from eval.report.typography import interval, rounded
from eval.tables.claims import OURS
from eval.tables.costs import SPEED_UP, TOKENS_KEPT
from eval.tables.formats import arrow, heading
from eval.tables.grid import change, speed_up_mark
from eval.tables.spec import SECONDS, UNPAIRED


@dataclass(frozen=True)
class Fact:
    """One number of ReToM. `note`: its difference to the baseline; change: "better", "worse" or ""."""

    name: str
    value: str
    note: str = ""
    change: str = ""


@dataclass(frozen=True)
class Summary:
    """`lead`: the result in one line; against: the two rows that `facts` are about; measured: on what.

    advice, command: what to do next, and the command that does it.
    """

    lead: str
    against: str
    facts: tuple[Fact, ...]
    measured: str
    advice: str
    command: str


def summary(gathered: Gathered, claims: Claims | None, choice: str = "") -> Summary:
    """The head of the page. choice: the command line's choice of an experiment, such as "experiment=smoke"."""
    rows = {key: _row(gathered, key) for key in (OURS, BASELINE)}
    ours, base = rows[OURS], rows[BASELINE]
    against = f"{ours.label} against {base.label}" if ours and base else ""
    facts = _facts(gathered, ours) if against else ()
    return Summary(_lead(gathered, claims), against, facts, _measured(gathered), *_next(gathered, claims, ours, choice))


def _row(gathered: Gathered, method: str) -> Entry | None:
    """The first row of the method that has numbers."""
    finished = [entry for entry in gathered.entries if entry.line.status in ("ok", "invalid")]
    return next((entry for entry in finished if entry.line.record["method"] == method), None)


def _lead(gathered: Gathered, claims: Claims | None) -> str:
    total = len(gathered.entries)
    if claims is not None and claims.found:
        supported, contradicted, undecided = (count for _, count in claims.counts)
        return (
            f"Of {len(claims.found)} claims of the paper, these runs support {supported}, contradict {contradicted} "
            f"and leave {undecided} undecided at 95%."
        )
    if not total:
        return "No table could be built."
    return f"{total - len(gathered.incomplete)} of {total} rows are complete."


def _facts(gathered: Gathered, ours: Entry) -> tuple[Fact, ...]:
    cells, found = ours.line.cells, []
    for name in gathered.overview.metrics:
        if name == SECONDS or cells[name] is None:
            continue
        column = f"{name}_minus_{BASELINE}"
        ends = (cells.get(f"{column}_low"), cells.get(f"{column}_high"))
        way = arrow(name, gathered.overview.spec)
        title = f"{heading(name)} {way}".strip()
        if name in UNPAIRED:
            ends = (cells[f"{name}_low"], cells[f"{name}_high"])
            found.append(Fact(title, rounded(name, cells[name]), interval(name, *ends)))
            continue
        note = " ".join(filter(None, (rounded(name, cells[column], "+"), interval(name, *ends, "+"))))
        found.append(Fact(title, rounded(name, cells[name]), note, change(way, *ends)))
    if cells.get(SPEED_UP) is not None:
        factor = rounded(SPEED_UP, cells[SPEED_UP]) + speed_up_mark(gathered.overview, ours.line)
        found.append(Fact(f"{heading(SPEED_UP)} {arrow(SPEED_UP)}", factor, _seconds(cells)))
    if cells.get(TOKENS_KEPT) is not None:
        found.append(Fact(heading(TOKENS_KEPT), rounded(TOKENS_KEPT, cells[TOKENS_KEPT])))
    return tuple(found)


def _seconds(cells: Mapping) -> str:
    return f"{rounded(SECONDS, cells[SECONDS])} s per image"


def _measured(gathered: Gathered) -> str:
    """On how many images, which model and device, under which protocol."""
    records = [entry.line.record for entry in gathered.entries if entry.line.status in ("ok", "invalid")]
    if not records:
        return ""
    protocol = records[0]["protocol"]
    model = protocol["model"].get("name") if isinstance(protocol["model"], dict) else protocol["model"]
    return (
        f"{protocol['n']} images per row, {protocol['n_reference']} reference images, model {model}, "
        f"{protocol['device_name']}, protocol {records[0]['protocol_hash']}"
    )


def _next(gathered: Gathered, claims: Claims | None, ours: Entry | None, choice: str) -> tuple[str, str]:
    args = f' ARGS="{choice}"' if choice else ""
    smoke = gathered.profile == "smoke"
    if gathered.incomplete or not gathered.entries:
        advice = "Rows are missing or failed. Complete them; finished rows are skipped:"
        run = "make smoke" if choice == "experiment=smoke" else f"python -m scripts.run --multirun {choice}".strip()
        return advice, run
    if claims is not None and claims.note:
        return f"{claims.note} Compare them:", f"make claims{args}"
    if smoke:
        return "A smoke run checks the pipeline, not the paper. On a machine with a GPU, measure Stable Diffusion:", (
            "make table1 table2"
        )
    if ours is not None:
        return "Score a row again from its saved images and compare:", f"make verify RUN={ours.run}"
    return "", ""

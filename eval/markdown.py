"""A table as a page of Markdown: rounded as in the paper, with what a reader needs to judge it below."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from eval.claims import claims, sentence
from eval.records import run_id
from eval.table_spec import UNPAIRED

if TYPE_CHECKING:
    from eval.tables import Line, Table

_HEADINGS = {
    "model": "Model",
    "window_size": "Window size",
    "dest_token": "Dest. token",
    "destination": "Destination",
    "fid": "FID",
    "clip": "CLIP",
    "ssim": "SSIM",
    "s_per_im": "s/im",
}
_NO_NUMBERS = ("failed", "missing")


def render(table: "Table") -> str:
    """The whole page, ending in a newline. Numbers have 2 decimals; a value's 95% interval stands in brackets."""
    columns = [*table.spec.labels, *table.metrics, *(f"paper_{metric}" for metric in table.spec.metrics)]
    paired = [f"{name}_minus_none" for name in table.metrics if name not in UNPAIRED]
    headings = [heading(column) for column in [*columns, *paired, "n", "status"]]
    words = len(table.spec.labels)
    rule = ["---"] * words + ["---:"] * (len(headings) - words - 1) + ["---"]
    body = [_row(table, line, columns, paired) for line in table.lines]
    parts = [f"# {_escape(table.spec.title)}", "\n".join(_join(cells) for cells in [headings, rule, *body])]
    parts += ["\n".join(f"- {text}" for text in notes) for notes in (_claims(table), _problems(table)) if notes]
    parts.append("\n".join(f"- {text}" for text in _footnotes(table)))
    return "\n\n".join(parts) + "\n"


def heading(column: str) -> str:
    """The words over a column of the CSV file: "FID (paper)" for paper_fid."""
    if column.startswith("paper_"):
        return f"{heading(column.removeprefix('paper_'))} (paper)"
    if column.endswith("_minus_none"):
        return f"{heading(column.removesuffix('_minus_none'))} - none"
    return _HEADINGS.get(column, column)


def _row(table: "Table", line: "Line", columns: Iterable[str], paired: Iterable[str]) -> list[str]:
    cells = []
    for column in columns:
        if column in table.spec.labels:
            cells.append(_escape(line.cells[column] or ""))
        elif column in table.metrics:
            cells.append(line.status if line.status in _NO_NUMBERS else _value(line, column))
        else:
            cells.append(_round(line.cells[column]))
    cells += [_value(line, column, sign="+") for column in paired]
    return [*cells, str(line.cells["n"] if line.cells["n"] is not None else ""), line.status]


def _value(line: "Line", column: str, sign: str = "") -> str:
    text, low, high = (_round(line.cells[f"{column}{end}"], sign) for end in ("", "_low", "_high"))
    return f"{text} [{low}, {high}]" if text and low and high else text


def _round(number: float | None, sign: str = "") -> str:
    return "" if number is None else f"{number:{sign}.2f}"


def _claims(table: "Table") -> list[str]:
    return [_escape(sentence(claim)) for claim in claims(table)]


def _problems(table: "Table") -> list[str]:
    """One line for each row that is not whole: failed, with invalid images, without a value, timed after a resume."""
    notes = []
    for line in table.lines:
        record = line.record
        if record is None:
            continue
        name = _escape(f"{line.cells['model']} ({run_id(record)})")
        if line.status == "failed":
            notes.append(f"{name} failed: {_escape(record['error']['sentence'])}")
            continue
        if record["images"]["invalid"]:
            notes.append(f"{name}: {len(record['images']['invalid'])} of {record['images']['n']} images are invalid.")
        for metric in table.metrics:
            reason = record["metrics"].get(metric, {}).get("reason")
            if reason:
                notes.append(f"{name} has no {metric}: {_escape(reason)}")
        if record["timing"] is not None and record["timing"]["resumed"]:
            notes.append(f"{name}: its seconds were measured in a resumed run.")
    return notes


def _footnotes(table: "Table") -> list[str]:
    notes = []
    if table.profile == "smoke":
        notes.append("fid_smoke and clip_smoke come from small fixed networks: they are not FID and not CLIP score.")
    records = [line.record for line in table.lines if line.record is not None]
    if records:
        notes += _facts(records)
    notes.append("Values in brackets are 95% intervals; `- none` is the paired difference to the unmerged model.")
    notes.append(
        "Absolute numbers of other papers are not comparable with these: reference pictures, their preparation, "
        "networks, image counts and machines differ. Compare rows of one table only."
    )
    return notes


def _facts(records: list[dict]) -> list[str]:
    # A failed run may not have known its reference; the finished ones tell the protocol.
    protocol = min(records, key=lambda record: record["status"] == "failed")
    facts, sampler = protocol["protocol"], protocol["protocol"]["sampler"]
    model = facts["model"].get("name") if isinstance(facts["model"], dict) else facts["model"]
    days = _sorted(record["provenance"].get("date", "")[:10] for record in records)
    seeds = _sorted(record["config"]["prompts"].get("seed") for record in records)
    networks = facts["metrics"].get("networks") or {}
    return [
        f"Protocol {protocol['protocol_hash']}: model {_escape(model)}, {_pairs(sampler)}.",
        f"Metrics: profile {_escape(facts['metrics'].get('profile'))}; {_pairs(networks) or 'no networks'}.",
        f"n = {facts['n']} images against {facts['n_reference']} reference pictures; "
        f"run seed {', '.join(seeds) or '?'}.",
        f"Device: {_escape(facts['device_name'])}; dates: {' to '.join(days[:1] + days[1:][-1:]) or '?'}; "
        f"code: {', '.join(_sorted(_code(record) for record in records))}.",
    ]


def _code(record: dict) -> str:
    git = record["provenance"].get("git") or {}
    if not git.get("sha"):
        return "unknown commit"
    return git["sha"][:12] + (" with changes" if git.get("dirty") else "")


def _pairs(mapping: dict) -> str:
    return ", ".join(f"{_escape(key)} {_escape(value)}" for key, value in mapping.items() if key != "_target_")


def _sorted(values: Iterable[Any]) -> list[str]:
    return sorted({str(value) for value in values if value not in (None, "")})


def _join(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _escape(text: Any) -> str:
    """Words from records and configs are input: no cell ends early, no line breaks, no tag opens."""
    text = " ".join(str(text).split())
    for character in "\\|<>`*[]":
        text = text.replace(character, f"\\{character}")
    return text

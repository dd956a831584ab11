"""A table as a page of Markdown: rounded as in the paper, with what a reader needs to judge it below."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from eval.quiet import Disturbance
from eval.records import run_id
from eval.records.canonical import mapping_or_empty
from eval.tables.claims import claims, sentence
from eval.tables.spec import SECONDS, UNPAIRED

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
    "kid": "KID x 1000",
    "kid_smoke": "kid_smoke x 1000",
}
_ENDINGS = {"_minus_none": " - none", "_half": " at n/2", "_infinite": " at infinity"}
_SEEDS = "_over_seeds"  # a column of the page alone: mean and standard deviation
_NO_NUMBERS = ("failed", "missing")
MARK = "†"  # at seconds that were not taken on a quiet device


def render(table: "Table") -> str:
    """The whole page, ending in a newline. A value's 95% interval stands in brackets; decimals are `number`'s."""
    columns = shown(table)
    headings = [heading(column) for column in columns]
    words = len(table.spec.labels)
    rule = ["---"] * words + ["---:"] * (len(headings) - words - 1) + ["---"]
    body = [[_cell(table, line, column) for column in columns] for line in table.lines]
    parts = [f"# {_escape(table.spec.title)}", "\n".join(_join(cells) for cells in [headings, rule, *body])]
    told = ([_escape(text) for text in gate_lines(table)], _claims(table), _problems(table))
    parts += ["\n".join(f"- {text}" for text in notes) for notes in told if notes]
    parts.append("\n".join(f"- {text}" for text in _footnotes(table)))
    return "\n\n".join(parts) + "\n"


def heading(column: str) -> str:
    """The words over a column of the CSV file: "FID (paper)" for paper_fid."""
    if column.startswith("paper_"):
        return f"{heading(column.removeprefix('paper_'))} (paper)"
    if column.endswith(_SEEDS):
        return f"{heading(column.removesuffix(_SEEDS))} over seeds"
    for ending, words in _ENDINGS.items():
        if column.endswith(ending):
            return heading(column.removesuffix(ending)) + words
    return _HEADINGS.get(column, column)


def shown(table: "Table") -> list[str]:
    """The columns of the page, in order: the paper's first. Each is one of the CSV file, or stands for two of it."""
    paired = [f"{name}_minus_none" for name in table.metrics if name not in UNPAIRED]
    beside = [*table.beside, *(column for column in table.columns if column.endswith(("_half", "_infinite")))]
    seeds = [f"{name}{_SEEDS}" for name in [*table.metrics, *paired]] if table.seeds else []
    papers = [f"paper_{metric}" for metric in table.spec.metrics]
    return [*table.spec.labels, *table.metrics, *papers, *paired, *beside, *seeds, "n", "status"]


def number(column: str, value: float | None, sign: str = "") -> str:
    """A number of `column` as the page shows it: 2 decimals as in the paper, 4 of SSIM and in the smoke profile.

    KID is multiplied by 1,000.
    """
    if value is None:
        return ""
    if column.startswith("kid"):
        return f"{1000 * value:{sign}.3f}"
    return f"{value:{sign}.4f}" if "_smoke" in column or column.startswith("ssim") else f"{value:{sign}.2f}"


def over_seeds(line: "Line", column: str) -> str:
    """Mean and standard deviation over the seeds, of a page's column that ends so; "" for any other."""
    if not column.endswith(_SEEDS):
        return ""
    name = column.removesuffix(_SEEDS)
    mean, sd = (number(name, line.cells[f"{name}_seed_{what}"]) for what in ("mean", "sd"))
    return f"{mean}{f' +- {sd}' if sd else ''} ({line.cells['seeds']})" if mean else ""


def mark(line: "Line", column: str) -> str:
    """`MARK` at the seconds of a row that was not timed on a quiet device, or of which that cannot be told; else ""."""
    timing = (line.record or {}).get("timing")
    return MARK if column == SECONDS and timing is not None and not timing.get("quiet") else ""


def gate_lines(table: "Table") -> list[str]:
    """What the page says of the gates: the failed ones, the unchecked, then one sentence for those that passed."""
    told = [
        f"Gate {gate.name} {'FAILED, no row of this table may be quoted' if status == 'failed' else status}: "
        f"{gate.sentence}."
        for status in ("failed", "unchecked")
        for gate in table.gates
        if gate.status == status
    ]
    passed = [f"{gate.name} ({gate.sentence})" for gate in table.gates if gate.status == "passed"]
    return [*told, f"Gates passed: {'; '.join(passed)}."] if passed else told


def _cell(table: "Table", line: "Line", column: str) -> str:
    if column.endswith(_SEEDS):
        return over_seeds(line, column)
    value = line.cells[column]
    if column in table.spec.labels:
        return _escape(value or "")
    if column in ("n", "status"):
        return "" if value is None else str(value)
    if column in table.metrics and line.status in _NO_NUMBERS:
        return line.status
    sign = "+" if column.endswith("_minus_none") else ""
    ends = (line.cells.get(f"{column}_low"), line.cells.get(f"{column}_high"))
    text, low, high = (number(column, each, sign) for each in (value, *ends))
    text += mark(line, column)
    return f"{text} [{low}, {high}]" if text and low and high else text


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
        if SECONDS in table.metrics and mark(line, SECONDS):
            notes.append(f"{name}: {MARK} {_around(record)} while it was timed; timing.again=true times it anew.")
    return notes


def _around(record: dict) -> str:
    timing = record["timing"]
    device = record["config"]["sampler"].get("device", "cpu")
    return Disturbance(device, timing.get("others_cpu_share"), timing.get("other_gpu_processes")).sentence


def _footnotes(table: "Table") -> list[str]:
    notes = []
    if table.profile == "smoke":
        notes.append("fid_smoke and clip_smoke come from small fixed networks: they are not FID and not CLIP score.")
    records = [line.record for line in table.lines if line.record is not None]
    if records:
        notes += _facts(records)
    notes.append("Values in brackets are 95% intervals; `- none` is the paired difference to the unmerged model.")
    if table.beside:
        notes.append(
            "FID falls as pictures are added: `at n/2` is its value with half of them, `at infinity` is extrapolated "
            "in 1/n; KID has no such bias (docs/statistics.md)."
        )
    if table.seeds:
        notes.append(
            f"`over seeds`: mean +- standard deviation over the run seeds {', '.join(map(str, table.seeds))} and how "
            f"many of them there are; every other number is that of seed {table.seeds[0]}."
        )
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
    ways = _sorted(timed(record) for record in records if record.get("timing"))
    seconds = f"Seconds: {'; '.join(ways)}" + ("; those timed differently do not compare." if len(ways) > 1 else ".")
    drawn_on = _sorted(shard["device_name"] for record in records for shard in _shards(record))
    elsewhere = [name for name in drawn_on if name != facts["device_name"]]
    device = facts["device_name"] + (f" (pictures also drawn on {', '.join(elsewhere)})" if elsewhere else "")
    return [
        f"Protocol {protocol['protocol_hash']}: model {_escape(model)}, {_pairs(sampler)}.",
        *_batches(records, sampler),
        f"Metrics: profile {_escape(facts['metrics'].get('profile'))}; {_pairs(networks) or 'no networks'}.",
        f"n = {facts['n']} images against {facts['n_reference']} reference pictures; "
        f"run seed {', '.join(seeds) or '?'}.",
        f"Device: {_escape(device)}; dates: {' to '.join(days[:1] + days[1:][-1:]) or '?'}; "
        f"code: {', '.join(_sorted(_code(part) for record in records for part in _parts(record)))}.",
        *([_escape(seconds)] if ways else []),
    ]


def _batches(records: list[dict], sampler: dict) -> list[str]:
    """The batch size where it belongs to the protocol, and the methods whose images are generated one a call."""
    if "batch_size" not in sampler:
        return []
    size, dtype = sampler["batch_size"], _escape(sampler.get("dtype"))
    drawn = [
        (record["method"], mapping_or_empty(record["provenance"].get("run")).get("batch_size")) for record in records
    ]
    single = _sorted(_escape(method) for method, each in drawn if each == 1 != size)
    apart = f" ({', '.join(single)}: one image a call)" if single else ""
    return [f"{dtype} images depend on how many are generated together: batches of {size}{apart}."]


def timed(record: dict) -> str:
    """How the seconds of a record were taken, as far as it changes them."""
    timing = mapping_or_empty(record["config"].get("timing"))
    threads = mapping_or_empty(record["provenance"].get("torch")).get("threads")
    return f"{timing.get('images')} images after {timing.get('warmup')} warm-up calls, {threads} threads on the host"


def _parts(record: dict) -> list[dict]:
    """What a record keeps of the code that drew, timed and scored."""
    parts = (
        record["provenance"],
        *_shards(record),
        mapping_or_empty(record.get("timing")).get("by"),
        record.get("scored_by"),
    )
    return [mapping_or_empty(part) for part in parts if part]


def _shards(record: dict) -> list[dict]:
    """What a record keeps of the jobs that drew parts of its run."""
    return mapping_or_empty(record["provenance"].get("run")).get("shards") or []


def _code(part: dict) -> str:
    git = mapping_or_empty(part.get("git"))
    sha = git.get("sha")
    if not isinstance(sha, str) or not sha:
        return "unknown commit"
    return _escape(sha[:12]) + (" with changes" if git.get("dirty") else "")


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

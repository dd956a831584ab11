"""The lines below a table: its gates, what is wrong with single rows, and the facts that the numbers depend on."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from eval.records import run_id
from eval.records.canonical import mapping_or_empty
from eval.records.gates import FAILED, PASSED, UNCHECKED
from eval.speed.idle import Disturbance
from eval.tables.formats import MARK, mark
from eval.tables.spec import SECONDS

if TYPE_CHECKING:
    from eval.tables import Table

TICKS = {FAILED: "✗", UNCHECKED: "?", PASSED: "✓"}


def gate_lines(table: "Table") -> list[str]:
    """One line for each gate, the failed ones first: a tick or a cross, its name, and the details."""
    lines = []
    for status, tick in TICKS.items():
        before = "not checked: " if status == UNCHECKED else ""
        after = "; no row of this table may be quoted" if status == FAILED else ""
        lines += [f"{tick} {gate.name}: {before}{gate.details}{after}" for gate in table.gates if gate.status == status]
    return lines


def problems(table: "Table") -> list[str]:
    """One line for each thing wrong with a row: failed, invalid images, no value, timed after a resume or not alone."""
    notes = []
    for line in table.lines:
        record = line.record
        if record is None:
            continue
        name = escape(f"{line.cells['model']} ({run_id(record)})")
        if line.status == "failed":
            notes.append(f"{name} failed: {escape(record['error']['sentence'])}")
            continue
        notes += [f"{name}{text}" for text in _of_row(table, record)]
        if SECONDS in table.metrics and mark(record):
            notes.append(f"{name}: {MARK} {_around(record)} while it was timed; timing.again=true times it again.")
    return notes


def _of_row(table: "Table", record: dict) -> list[str]:
    notes = []
    if record["images"]["invalid"]:
        notes.append(f": {len(record['images']['invalid'])} of {record['images']['n']} images are invalid.")
    for metric in table.metrics:
        entry = mapping_or_empty(record["metrics"].get(metric))
        if entry.get("reason"):
            notes.append(f" has no {metric}: {escape(entry['reason'])}")
        if below_zero(entry):
            notes.append(
                f" has no {metric} at infinity: the extrapolation in 1/n is negative with {entry['n']} images."
            )
    if record["timing"] is not None and record["timing"]["resumed"]:
        notes.append(": its times were measured in a resumed run.")
    return notes


def below_zero(entry: Any) -> bool:
    """Whether a metric's extrapolation to infinitely many images is negative, which no distance can be."""
    infinite = mapping_or_empty(entry).get("infinite")
    return infinite is not None and infinite < 0


def _around(record: dict) -> str:
    timing = record["timing"]
    device = record["config"]["sampler"].get("device", "cpu")
    return Disturbance(device, timing.get("others_cpu_share"), timing.get("other_gpu_processes")).reason


def footnotes(table: "Table") -> list[str]:
    """What the numbers depend on: protocol, metrics, device, dates, code, how times were taken."""
    notes = []
    if table.profile == "smoke":
        notes.append("fid_smoke and clip_smoke come from small fixed networks: they are not FID and not CLIP score.")
    records = [line.record for line in table.lines if line.record is not None]
    if records:
        notes += _facts(records)
    notes.append(
        "Values in brackets are 95% intervals; `- baseline` is the paired difference to the row of method none."
    )
    if table.beside:
        notes.append(
            "FID falls as images are added: `at n/2` is its value with half of them, `at infinity` is extrapolated "
            "in 1/n; KID has no such bias (docs/statistics.md)."
        )
    if table.seeds:
        notes.append(
            f"`over seeds`: mean +- standard deviation over the run seeds {', '.join(map(str, table.seeds))}, with "
            f"the number of seeds found; every other number is that of seed {table.seeds[0]}."
        )
    notes.append(
        "Absolute numbers of other papers are not comparable with these: reference images, their preparation, "
        "networks, image counts and machines differ. Compare rows of one table only."
    )
    return notes


def _facts(records: list[dict]) -> list[str]:
    # A failed run may not know its reference; the finished ones have the protocol.
    protocol = min(records, key=lambda record: record["status"] == "failed")
    facts, sampler = protocol["protocol"], protocol["protocol"]["sampler"]
    model = facts["model"].get("name") if isinstance(facts["model"], dict) else facts["model"]
    days = _sorted(record["provenance"].get("date", "")[:10] for record in records)
    seeds = _sorted(record["config"]["prompts"].get("seed") for record in records)
    networks = facts["metrics"].get("networks") or {}
    ways = _sorted(timed(record) for record in records if record.get("timing"))
    seconds = f"Times: {'; '.join(ways)}" + ("; those measured differently do not compare." if len(ways) > 1 else ".")
    generated_on = _sorted(shard["device_name"] for record in records for shard in _shards(record))
    elsewhere = [name for name in generated_on if name != facts["device_name"]]
    device = facts["device_name"] + (f" (images also generated on {', '.join(elsewhere)})" if elsewhere else "")
    return [
        f"Protocol {protocol['protocol_hash']}: model {escape(model)}, {_pairs(sampler)}.",
        *_batches(records, sampler),
        f"Metrics: profile {escape(facts['metrics'].get('profile'))}; {_pairs(networks) or 'no networks'}.",
        f"n = {facts['n']} images against {facts['n_reference']} reference images; run seed {', '.join(seeds) or '?'}.",
        f"Device: {escape(device)}; dates: {' to '.join(days[:1] + days[1:][-1:]) or '?'}; "
        f"code: {', '.join(_sorted(_code(part) for record in records for part in _parts(record)))}.",
        *([escape(seconds)] if ways else []),
    ]


def _batches(records: list[dict], sampler: dict) -> list[str]:
    """The batch size where it belongs to the protocol, and the methods that generate one image a call."""
    if "batch_size" not in sampler:
        return []
    size, dtype = sampler["batch_size"], escape(sampler.get("dtype"))
    generated = [
        (record["method"], mapping_or_empty(record["provenance"].get("run")).get("batch_size")) for record in records
    ]
    single = _sorted(escape(method) for method, each in generated if each == 1 != size)
    apart = f" ({', '.join(single)}: one image a call)" if single else ""
    return [f"{dtype} images depend on how many are generated together: batches of {size}{apart}."]


def timed(record: dict) -> str:
    """How the times of a record were measured, as far as it changes them."""
    timing = mapping_or_empty(record["config"].get("timing"))
    threads = mapping_or_empty(record["provenance"].get("torch")).get("threads")
    return f"{timing.get('images')} images after {timing.get('warmup')} warm-up calls, {threads} threads on the host"


def _parts(record: dict) -> list[dict]:
    """What a record says of the code that generated, timed and scored."""
    parts = (
        record["provenance"],
        *_shards(record),
        mapping_or_empty(record.get("timing")).get("by"),
        record.get("scored_by"),
    )
    return [mapping_or_empty(part) for part in parts if part]


def _shards(record: dict) -> list[dict]:
    """What a record says of the jobs that generated parts of its run."""
    return mapping_or_empty(record["provenance"].get("run")).get("shards") or []


def _code(part: dict) -> str:
    git = mapping_or_empty(part.get("git"))
    sha = git.get("sha")
    if not isinstance(sha, str) or not sha:
        return "unknown commit"
    return escape(sha[:12]) + (" with changes" if git.get("dirty") else "")


def _pairs(mapping: dict) -> str:
    return ", ".join(f"{escape(key)} {escape(value)}" for key, value in mapping.items() if key != "_target_")


def _sorted(values: Iterable[Any]) -> list[str]:
    return sorted({str(value) for value in values if value not in (None, "")})


def escape(text: Any) -> str:
    """Words from records and configs are input: no cell ends early, no line breaks, no tag opens."""
    text = " ".join(str(text).split())
    for character in "\\|<>`*[]":
        text = text.replace(character, f"\\{character}")
    return text

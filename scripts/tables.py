"""Rebuild the tables of an experiment from its records.

It also writes `runs_<folder>.csv`: every run of the folder with the options that differ, one line for each metric. Plot
a sweep's curves from it, also while its jobs still run.

Examples:
    python -m scripts.tables experiment=table1
    python -m scripts.tables experiment=smoke method=none,retom
"""

import itertools
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString
from omegaconf import DictConfig

from eval.errors import RunError
from eval.records import load_records
from eval.records.canonical import canonical_json
from eval.records.gates import FAILED, read_references
from eval.tables import Line, Table, build_table, write_table
from eval.tables.spec import TableRow, TableSpec
from eval.tables.terminal import print_table, terminal
from eval.tables.tidy import tidy, unfinished_runs, write_tidy
from scripts.command_line.choices import choices
from scripts.command_line.entry import CONF, ROOT, say
from scripts.command_line.sweeps import Part, work_on_sweep
from scripts.finished.fitting import fitting, no_record
from scripts.jobs.measured import with_measured_share
from scripts.jobs.outcomes import planned
from scripts.jobs.row import build, resolve
from scripts.jobs.shipped import shipped_options

GOOD, MISSING = ("ok",), "missing"
SWEPT = ("method.", "sampler.", "prompts.")  # options that records hold as they were given


def main() -> int:
    """Build and print every table of the experiment. Returns 1 where a chosen row is incomplete or a gate failed."""
    return work_on_sweep(_build_all)


def _build_all(composed: DictConfig, choices: dict[str, str], part: Part) -> int:
    config = resolve(composed)
    unread: list[str] = []
    loaded = load_records(Path(config["results"]) / "runs", config["runs"], warn=unread.append)
    for sentence in unread:
        say(sentence)
    _write_runs(loaded, config)
    bad = len(unread)
    if config["tables"]:
        specs, records = table_specs(config, loaded), fitting(loaded, config)
        for spec in specs:
            table = build_table(spec, records, **table_options(config))
            paths = write_table(table, table_folder(config, "real" if spec.kept else table.profile) / part.folder)
            print_table(table, terminal())
            say(f"written: {', '.join(map(str, paths))}")
            bad += _complain(table, part.methods)
        bad += _complain_of_sweep(part.jobs, records)
    return int(bad > 0)


def table_options(config: dict) -> dict:
    """What a resolved configuration asks of `eval.tables.build_table`.

    RunError: the reference runs cannot be read, or `select` or `seeds` is no such choice.
    """
    references = read_references(ROOT / config["gates"])
    if not isinstance(config["select"], dict | None):
        raise RunError(f"select must be a mapping, such as {{model:tiny}}, or null, got {config['select']!r}")
    if not isinstance(config["seeds"], list) or any(type(seed) is not int for seed in config["seeds"]):
        raise RunError(f"seeds must be a list of integers, such as [0,1,2], got {config['seeds']!r}")
    return {"select": config["select"], "seeds": tuple(config["seeds"]), "references": references}


def table_folder(config: dict, profile: str) -> Path:
    """Where what is made from records of `profile` goes."""
    return Path(config["results"]) / ("" if profile == "real" else profile)


def _write_runs(records: list[dict], config: dict) -> None:
    """`runs_<folder>.csv` of every profile that the folder's runs have."""
    waiting = unfinished_runs(Path(config["results"]) / "runs", config["runs"], records)
    if not records and not waiting:
        raise no_record(config)
    groups: dict[str, list[dict]] = {}
    for record in records:
        groups.setdefault(record["protocol"]["metrics"]["profile"], []).append(record)
    asked = build("metrics", config["metrics"], config["trusted"]).profile
    measured = {canonical_json(group[0]["config"].get("metrics")): profile for profile, group in groups.items()}
    unfinished: dict[str, dict] = {}
    for name, run in waiting.items():
        unfinished.setdefault(measured.get(canonical_json(run.get("metrics")), asked), {})[name] = run
    for profile in sorted({*groups, *unfinished}):
        frame = tidy(groups.get(profile, []), unfinished.get(profile))
        path = write_tidy(frame, table_folder(config, profile) / f"runs_{config['runs']}.csv")
        number = len(unfinished.get(profile, ()))
        say(f"written: {path} ({frame['run_id'].nunique()} runs, {number} of them unfinished)")


def table_specs(config: dict, records: Sequence[dict] | None = None) -> list[TableSpec]:
    """The tables of a resolved configuration, with the methods' shipped options. RunError: it has none.

    records: those that the tables are built from; without them every method is composed, a tenth of a second each.
    """
    if not config["tables"]:
        raise RunError("there is no table to build; choose one with experiment=table1, experiment=table2 or another")
    tables = config["tables"]
    if not isinstance(tables, dict) or not all(isinstance(data, dict) for data in tables.values()):
        raise RunError(f"tables must be a mapping of tables, which have the keys name and rows, got {tables!r}")
    profile = {"profile": build("metrics", config["metrics"], config["trusted"]).profile}

    def read(methods: dict) -> list[TableSpec]:
        found = [{**data, **profile} for data in tables.values()]
        names = method_labels()
        return [TableSpec.from_data(data, methods=methods, backend=config["backend"], names=names) for data in found]

    wanted = None
    if records is not None:
        wanted = {row.method for spec in read({}) for row in spec.rows} | {record["method"] for record in records}
    return read(shipped_methods(config, wanted))


def method_labels() -> dict[str, str]:
    """The name of each method in tables, figures and pages, by its key (conf/labels.yaml)."""
    return yaml.safe_load((CONF / "labels.yaml").read_text(encoding="utf-8"))


def shipped_methods(config: dict, wanted: Collection[str] | None = None) -> dict[str, dict]:
    """The options of the `wanted` (or all) methods, which tell a row's record from a sweep's.

    An installed method that cannot be used is reported and left out.

    config: the plain configuration whose sampler (for a schedule over its steps) and findings (for `fewer_steps`) the
    options follow.
    """
    from retom.extensions import ExtensionError  # with it comes torch

    names = [name for name in choices(CONF, "method") if wanted is None or name in wanted]
    shipped = {}
    for name in names:
        try:
            shipped[name] = shipped_options(name, config["sampler"])
        except ExtensionError as error:
            say(f"left out: {error}")
    return {name: with_measured_share({**config, "method": own}, required=False) for name, own in shipped.items()}


def _complain_of_sweep(arguments: Sequence[str], records: Sequence[dict]) -> int:
    """Report how many of the runs that the experiment sweeps over have no record among `records`; their count.

    A table shows those that it does not name as rows only once they have a record.
    """
    plan = planned(["--multirun", *arguments], CONF)
    jobs = [] if plan is None else [OverridesParser.create().parse_overrides(list(job)) for job in plan.jobs]
    swept = _swept(jobs)
    there = {tuple(_chosen(record, key) for key in swept) for record in records}
    absent = []
    for job in jobs:
        asked = {override.key_or_group: override for override in job if override.key_or_group in swept}
        if tuple(_text(asked[key].value()) if key in asked else "" for key in swept) not in there:
            absent.append(" ".join(override.input_line for override in asked.values()))
    if absent:
        say(f"{len(absent)} of {len(jobs)} runs of this sweep have no record (first: {absent[0]})")
    return len(absent)


def _swept(jobs: Sequence[Sequence[Override]]) -> list[str]:
    """The method, and the options that are not the same in all jobs; the records are of these choices in all else."""
    seen: dict[str, set[str]] = {}
    for override in itertools.chain.from_iterable(jobs):
        seen.setdefault(override.key_or_group, set()).add(override.input_line)
    return [key for key, lines in seen.items() if key == "method" or (key.startswith(SWEPT) and len(lines) > 1)]


def _chosen(record: dict, key: str) -> str:
    """What a record's run had for an override's key: its method, or an option."""
    if key == "method":
        return _text(record["method"])
    place = record["config"]
    for name in key.split("."):
        place = place.get(name) if isinstance(place, dict) else None
    return _text(place)


def _text(value: object) -> str:
    return canonical_json(value.text if isinstance(value, QuotedString) else value)


def _complain(table: Table, chosen: Sequence[str]) -> int:
    """Report which rows are incomplete, which seeds are missing and which gates failed; their count.

    chosen: the methods that the command line names. Rows of others without a record are reported and not counted.
    """
    left = [] if not chosen else _not_chosen(table, chosen)
    if left:
        names = ", ".join(row.method for row, _ in left)
        say(f"{table.spec.name}: a partial table; method={','.join(chosen)} leaves out {len(left)} rows ({names})")
    absent = [line for _, line in left]
    bad = [line for line in table.lines if line.status not in GOOD and not any(line is other for other in absent)]
    for line in bad:
        error = (line.record or {}).get("error") or {}
        why = f": {error['sentence']}" if error else ""
        say(f"{table.spec.name}: {line.cells['model']} is {line.status}{why}")
    failed = [gate for gate in table.gates if gate.status == FAILED]
    for gate in failed:
        say(f"{table.spec.name}: {gate.refusal}")
    fewer = [line for line in table.lines if line.cells.get("seeds", len(table.seeds)) < len(table.seeds)]
    fewer = [] if chosen else fewer  # `_complain_of_sweep` reports which runs of a chosen sweep have no record
    for line in fewer:
        say(f"{table.spec.name}: {line.cells['model']} has {line.cells['seeds']} of {len(table.seeds)} seeds")
    return len(bad) + len(failed) + len(fewer)


def _not_chosen(table: Table, chosen: Sequence[str]) -> list[tuple[TableRow, Line]]:
    """The rows of the paper that are of none of the methods `chosen` and have no record."""
    rows = zip(table.spec.rows, table.lines, strict=False)
    return [(row, line) for row, line in rows if row.method not in chosen and line.status == MISSING]


if __name__ == "__main__":
    sys.exit(main())

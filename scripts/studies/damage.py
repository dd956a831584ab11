"""The finished runs of a sweep over ratios, compared pair by pair: whether damage grows with the ratio."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas

from eval.atomic import write_text
from eval.errors import RunError
from eval.judging.damage import WORSE, Pair, Run, growth_lines, render, rivals_of, steps_of
from eval.metrics.profiles import score
from eval.records import load_records, run_id
from eval.reference import ReferenceSet
from eval.reference.loading import load_reference
from eval.run.row import Row
from eval.run.siblings import sibling_images
from scripts.finished.fitting import fitting
from scripts.tables import method_labels

DESTINATIONS = ("retom", ("retom_random", "retom_least"))


class Comparison:
    """The finished runs of a sweep over ratios, with their images, and what scoring them against each other gives."""

    def __init__(self, row: Row) -> None:
        self._row = row
        self._table = _only_table(row)
        records = fitting(load_records(row.results / "runs", row.runs), row.config)
        finished = [record for record in records if record["status"] == "ok"]
        self._records = {
            _run(record): record for record in finished if record["config"]["method"].get("ratio") is not None
        }
        baseline = [record for record in finished if record["method"] == "none"]
        if not baseline or not self._records:
            lacking = "a ratio" if baseline else "method none"
            raise RunError(
                f"{row.results / 'runs' / row.runs} lacks finished runs of {lacking}; run these first: python -m "
                f"scripts.run --multirun experiment={row.runs}, and again without --multirun and with method=none"
            )
        alone = [run.run_id for run, record in self._records.items() if "ssim" not in record["metrics"]]
        if alone:
            raise RunError(
                f"{len(alone)} runs were scored before the baseline was finished (first: {alone[0]}); run the sweep "
                "again, which re-scores them from their images"
            )
        items = row.prompts.items()
        self._none = sibling_images(row, baseline[0], items)
        self._images = {run: sibling_images(row, record, items) for run, record in self._records.items()}
        self._as_reference = ReferenceSet(self._none.images, tuple(self._none.class_indices.tolist()), self._none.hash)
        self._reference = load_reference(row.reference, row.prompts.selected(), row.cache)

    def write(self) -> list[Path]:
        """Both files; their paths."""
        steps, rivals = steps_of(self._records), rivals_of(self._records, *DESTINATIONS)
        found = {run: self._scored(run, [b for a, b in [*steps, *rivals] if a == run]) for run in self._records}
        values = {metric: {run: entries[metric]["value"] for run, entries in found.items()} for metric in WORSE}
        steps, rivals = ([_pair(m, a, b, found[a][m]) for a, b in both for m in WORSE] for both in (steps, rivals))
        csv, page = (self._row.results / f"{self._table['name']}_differences.{end}" for end in ("csv", "md"))
        frame = pandas.DataFrame([pair.row() for pair in [*steps, *rivals]])
        write_text(csv, frame.to_csv(index=False, lineterminator="\n"))
        labels = method_labels()
        names = {method: labels.get(method, method) for method in {run.method for run in self._records}}
        write_text(page, render(self._table["title"], values, steps, rivals, self._notes(), names.__getitem__))
        print("\n".join(growth_lines(steps, names.__getitem__)), flush=True)
        return [csv, page]

    def _scored(self, run: Run, others: Sequence[Run]) -> dict[str, dict]:
        """The metrics of damage of `run` with its differences to `others`, by run id."""
        row, against = self._row, {other.run_id: self._images[other] for other in others}
        to_real, to_unmerged = (
            score(
                self._images[run],
                reference,
                row.metrics,
                cache=row.cache,
                device=row.sampler.device,
                bootstrap=row.bootstrap,
                against={"none": self._none, **against},
            )
            for reference in (self._reference, self._as_reference)
        )
        return {**to_real, "fid_smoke_unmerged": to_unmerged["fid_smoke"]}

    def _notes(self) -> list[str]:
        """Protocol, device, code and date of the runs."""
        records = list(self._records.values())
        protocol, provenances = records[0]["protocol"], [record["provenance"] for record in records]
        sampler, model = protocol["sampler"], protocol["model"]
        codes = sorted({f"{p['git']['sha'][:12]}{' with changes' if p['git']['dirty'] else ''}" for p in provenances})
        return [
            f"Model {model['name']}, revision {str(model.get('revision'))[:12]}; {sampler['scheduler']}, "
            f"{sampler['steps']} steps, guidance {sampler['guidance']:g}.",
            f"{protocol['n']} images of {len(self._row.prompts.selected())} classes against statistics of "
            f"{protocol['n_reference']} images; intervals: 95%, over classes, of paired differences.",
            f"{protocol['metrics']['networks']['fid_smoke']}.",
            f"Device {protocol['device_name']}; {min(p['date'] for p in provenances)[:10]}; code {', '.join(codes)}.",
            "A difference is the first run minus the second; ratios are compared with the next lower one.",
        ]


def _only_table(row: Row) -> dict:
    tables = list((row.config["tables"] or {}).values())
    if len(tables) != 1:
        raise RunError(f"an experiment with one table is needed, as experiment=damage; this one has {len(tables)}")
    return tables[0]


def _run(record: dict) -> Run:
    return Run(record["method"], float(record["config"]["method"]["ratio"]), run_id(record))


def _pair(metric: str, run: Run, against: Run, entry: dict[str, Any]) -> Pair:
    found = entry["differences"][against.run_id]
    low, high = found["interval"] or (None, None)
    return Pair(metric, run, against, found["value"], low, high, entry["n"])

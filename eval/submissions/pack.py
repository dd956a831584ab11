"""A finished run as a submission: what is copied, and what is refused before anything is written."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from eval.atomic import replacing, write_json, write_text
from eval.errors import RunError
from eval.records import BASELINE, BOUND, RunFolder, run_id
from eval.submissions.checks import run_name
from eval.submissions.environment import environment
from eval.submissions.layout import HASHES, IMAGES, LIMIT, file_hash, fixed_images
from eval.submissions.speed import best_bound, largest_ratio


def check_finished(record: Mapping) -> None:
    """RunError: the run failed, or more than 1% of its images are invalid."""
    if record["status"] != "ok":
        raise RunError(
            f"run {run_id(record)} is {record['status']}; only a finished run with status ok can be submitted: run it "
            "again, or mend what its record says"
        )


def baselines(record: dict, records: Sequence[dict]) -> tuple[dict, dict]:
    """The submitter's own `none` and `oracle` among `records`. RunError: one is missing; which command runs it."""
    alike = [
        other
        for other in records
        if other["protocol_hash"] == record["protocol_hash"]
        and other["status"] == "ok"
        and other["experiment"] == record["experiment"]
    ]
    wanted = (record.get("against") or {}).get(BASELINE)
    none = [other for other in alike if other["method"] == BASELINE and wanted in (None, run_id(other))]
    if record["method"] == BASELINE:
        none = [record]
    elif not none or wanted is None:
        raise RunError(
            f"run {run_id(record)} has no finished run of method none of the same protocol and device that it was "
            f"compared with; {_rerun(record, 'method=none')} and then the run itself again"
        )
    oracle = best_bound((other for other in alike if other["method"] == BOUND), record)
    if oracle is None:
        ratio = f" method.ratio={largest_ratio(record):g}" if largest_ratio(record) else ""
        raise RunError(
            f"run {run_id(record)} has no finished run of method oracle of the same protocol and device that leaves as "
            f"few tokens; {_rerun(record, f'method=oracle{ratio}')}"
        )
    return none[0], oracle


def write_submission(
    run: RunFolder, record: dict, none: dict, oracle: dict, method: Mapping, root: Path, files: Sequence[str]
) -> Path:
    """Write the folder of the run below `root` and return it; `files`: the names of all its images in order.

    RunError: an image is missing, it would exceed the limit, or another party's run is already there.
    """
    missing = [name for name in files if not (run.images / name).is_file()]
    if missing:
        raise RunError(
            f"run {run.run_id} lacks {len(missing)} of its {len(files)} images (first: {missing[0]}); run it again, "
            "which generates them"
        )
    folder, shown = _place(root, record, method), fixed_images(files)
    size = sum((run.images / name).stat().st_size for name in shown)
    size += sum(len(json.dumps(part, indent=2)) for part in (record, none, oracle, method)) + 90 * len(files)
    if size > LIMIT:
        raise RunError(
            f"the submission of {run.run_id} would have {size / 1e6:.1f} MB and at most {LIMIT / 1e6:.0f} MB are "
            "allowed; submit a protocol with smaller images"
        )
    shutil.rmtree(folder / IMAGES, ignore_errors=True)
    (folder / IMAGES).mkdir(parents=True)
    for name in shown:
        with replacing(folder / IMAGES / name) as temporary:
            shutil.copyfile(run.images / name, temporary)
    write_text(folder / HASHES, "".join(f"{file_hash(run.images / name)}  {name}\n" for name in files))
    for name, part in (("record", record), ("none", none), ("oracle", oracle), ("method", method)):
        write_json(folder / f"{name}.json", part)
    (folder / "verified.json").unlink(missing_ok=True)
    return folder


def _place(root: Path, record: Mapping, method: Mapping) -> Path:
    """Where the run goes: its own name, or with the submitter's where another party has that."""
    parent = root / record["method"] / environment(record)
    plain, party = (parent / run_name(record, by) for by in (None, method["submitted_by"]))
    if (plain / "method.json").is_file():
        there = json.loads((plain / "method.json").read_text(encoding="utf-8"))
        return plain if there.get("submitted_by") == method["submitted_by"] else party
    return plain


def _rerun(record: Mapping, choice: str) -> str:
    return f"run python -m scripts.run with the same choices as this run (runs={record['experiment']}) and {choice}"

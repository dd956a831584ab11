"""Record the finished baseline of these choices as a reference run.

Tables then check every baseline of the same protocol against it, on any machine (eval/records/gates.py).

Examples:
    python -m scripts.gates experiment=table1
"""

import sys
from pathlib import Path

from omegaconf import DictConfig

from eval.atomic import write_json
from eval.errors import RunError
from eval.records import BASELINE, load_records
from eval.records.gates import read_references, reference_entry
from scripts.command_line.entry import ROOT, say, work_on_each
from scripts.finished.fitting import fitting
from scripts.jobs.row import resolve


def main() -> int:
    """Write the entry into the file named by `gates`. Returns 1 if there is no finished baseline."""
    return work_on_each(lambda composed, choices: _record(composed))


def _record(composed: DictConfig) -> int:
    config = resolve(composed)
    records = fitting(load_records(Path(config["results"]) / "runs", config["runs"]), config)
    baselines = [record for record in records if record["method"] == BASELINE]
    if len(baselines) != 1:
        raise RunError(
            f"there are {len(baselines)} runs of {BASELINE} among the {len(records)} of these choices, expected 1"
        )
    entry, path = reference_entry(baselines[0]), ROOT / config["gates"]
    kept = [other for other in read_references(path) if other["key"] != entry["key"]]
    write_json(path, {"references": sorted([*kept, entry], key=lambda each: (each["run_id"], each["key"]))})
    say(f"written: {path}: {entry['run_id']} is the reference run of {entry['key']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Score a finished run again from its images, and report whether its record is the same.

The feature cache is not used and nothing is changed. Timing and merges need the model and are not checked.

Examples:
    python -m scripts.verify run=smoke/retom-0123456789ab
"""

import json
import re
import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from eval.errors import RunError
from eval.records import validate_record
from scripts.command_line.entry import say, work_on_each


def main() -> int:
    """Print one line for each check. Returns 1 if one of them differs."""
    return work_on_each(_verify, "verify")


def _verify(composed: DictConfig, choices: dict[str, str]) -> int:
    if OmegaConf.is_missing(composed, "run") or not composed.run:
        raise RunError("run must name a run: the run_id of a table's row, such as run=table1/retom-0123456789ab")
    config = OmegaConf.to_container(composed, resolve=True)
    results = Path(config["results"])
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(config["run"])):
        raise RunError(
            f"run must name a run, such as table1/retom-0123456789ab (a run_id of a table), got {config['run']!r}"
        )
    record = read_record(results / "runs" / config["run"])
    from scripts.studies.verification import findings_of

    findings = findings_of(record, results, config["trusted"])
    for finding in findings:
        print(f"{finding.outcome:>16}  {finding.what}{f': {finding.detail}' if finding.detail else ''}", flush=True)
    bad = [finding.what for finding in findings if not finding.good]
    say(f"{config['run']}: " + (f"NOT the same: {', '.join(bad)}" if bad else "the record is the same"))
    return int(bool(bad))


def read_record(folder: Path) -> dict:
    """The record in a run's folder, unchanged. RunError: there is none, or it is not of a finished run."""
    path = folder / "record.json"
    if not folder.is_dir():
        raise RunError(f"there is no run {folder}; the run_id column of a table names the runs")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        validate_record(record)
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} is not a record that can be verified ({' '.join(str(error).split())})") from error
    if record["status"] == "failed":
        raise RunError(f"{path} is of a run that failed; there is nothing to verify")
    return record


if __name__ == "__main__":
    sys.exit(main())

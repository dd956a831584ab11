"""Pack a finished run for submissions/. docs/submitting.md says what is packed and what is checked.

Examples:
    python -m scripts.submit run=track_tiny/retom-0123456789ab by="A. Name" contact=a@example.org
"""

import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from eval.decoding import hash_of_digests, image_label
from eval.errors import RunError
from eval.provenance import distribution_of
from eval.records import RunFolder, load_records
from eval.submissions.consistency import prompts_of
from eval.submissions.documents import first_fault
from eval.submissions.layout import file_hash
from eval.submissions.pack import baselines, check_finished, write_submission
from eval.submissions.source import OWN, can_be_found, hash_at_commit, hash_of_folders
from scripts.command_line.entry import ROOT, say, work_on_each
from scripts.command_line.trust import check_targets
from scripts.verify import read_record


def main() -> int:
    """Write the submission and print its folder. Returns the exit status."""
    return work_on_each(_submit, "submit")


def _submit(composed: DictConfig, choices: dict[str, str]) -> int:
    missing = [key for key in ("run", "by", "contact") if OmegaConf.is_missing(composed, key)]
    if missing:
        raise RunError(f"{missing[0]} is missing; give run=<experiment>/<method>-<hash> by=NAME contact=ADDRESS")
    config = OmegaConf.to_container(composed, resolve=True)
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(config["run"])):
        raise RunError(f"run must be a run_id of a table, as track_tiny/retom-0123456789ab, got {config['run']!r}")
    runs = Path(config["results"]) / "runs"
    record = read_record(runs / config["run"])
    check_finished(record)
    none, oracle = baselines(record, load_records(runs, record["experiment"]))
    run = RunFolder.of(record, runs)
    items = prompts_of(record["config"]).items()
    method = describe(record, config)
    folder = write_submission(
        run, record, none, oracle, method, Path(config["submissions"]), [item.file for item in items]
    )
    digests = (bytes.fromhex(file_hash(run.images / item.file)) for item in items)
    if hash_of_digests(map(image_label, items), digests) != record["images"].get("sha256"):
        say(
            f"warning: the images of {config['run']} are not those of its record; run the row again, then pack it again"
        )
    say(f"written: {folder}")
    say("next: python -m scripts.check_submissions write=true")
    return 0


def describe(record: Mapping, config: Mapping) -> dict:
    """The contents of method.json. RunError: the method's package is not installed, or a text is not usable."""
    target = record["config"]["method"]["_target_"]
    check_targets("method", {"_target_": target}, config["trusted"])
    package = target.partition(".")[0]
    distribution = distribution_of(package)
    described = {
        "target": target,
        "source": {
            "package": package,
            "sha256": _source_hash(record, package),
            "distribution": distribution,
            "version": importlib.metadata.version(distribution) if distribution else None,
            "url": config["url"],
        },
        "paper": config["paper"],
        "submitted_by": config["by"],
        "contact": config["contact"],
    }
    if not can_be_found(described["source"]):
        raise RunError(f"no installed distribution holds the package {package}; say where its source is: url=ADDRESS")
    fault = first_fault(described, "method")
    if fault is not None:
        raise RunError(f"method.json would not follow its schema: {fault}; fix by, contact, paper or url")
    return described


def _source_hash(record: Mapping, package: str) -> str:
    git = record["provenance"]["git"]
    at_commit = hash_at_commit(ROOT, git["sha"], package) if package in OWN and not git.get("dirty") else None
    if at_commit is not None:
        return at_commit
    found = importlib.util.find_spec(package)
    if found is None:
        raise RunError(f"the package {package} of method {record['method']} is not importable here; install it")
    folders = found.submodule_search_locations  # None for a module of one file
    return hash_of_folders([Path(found.origin)] if folders is None else [Path(folder) for folder in folders])


if __name__ == "__main__":
    sys.exit(main())

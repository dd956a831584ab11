"""Check the files of a release without a GPU: `make check-results`.

With `add` it records the provenance of a CSV while its runs are still available.

Examples:
    python -m scripts.check_results
    python -m scripts.check_results add=results/table1.csv command="make table1"
"""

import sys
from pathlib import Path

from omegaconf import OmegaConf

from eval.errors import RunError
from eval.judging.release import add, check, committed, repository_has
from eval.records.gates import read_references
from scripts.command_line.entry import ROOT, say, work_on_each


def main() -> int:
    """Check, or add and then check. Returns 1 if something is wrong."""
    return work_on_each(
        lambda composed, choices: _work(OmegaConf.to_container(composed, resolve=True)), "check_results"
    )


def _work(config: dict) -> int:
    results = Path(config["results"])
    asked = config["add"] if isinstance(config["add"], list) else [config["add"]] if config["add"] else []
    if asked and not config["command"]:
        raise RunError('add needs the command that made the file, such as command="make table1"')
    for name in asked:
        entry = add(Path(name), config["command"], results)
        say(f"{name}: {entry['rows']} rows of {', '.join(entry['machines'])}, {', '.join(entry['commits'])}")
    names = {*committed(results), *(Path(name).name for name in asked)}
    problems, unchecked = check(results, names, repository_has(ROOT))
    problems += _references(results / "gates.json")
    for message in unchecked:
        print(f"not checked: {message}", flush=True)
    for message in problems:
        print(f"wrong: {message}", flush=True)
    say(f"{results}: {len(names)} CSV files, {len(problems)} problems, {len(unchecked)} that cannot be checked here")
    return int(bool(problems))


def _references(path: Path) -> list[str]:
    has = repository_has(ROOT)
    lost = [entry for entry in read_references(path) if has(str(entry.get("commit"))) is False]
    return [f"{path.name}: the repository has no commit {entry['commit']} of {entry['run_id']}" for entry in lost]


if __name__ == "__main__":
    sys.exit(main())

"""Check what was submitted, on a CPU without a network.

write=true writes the page; verify=<method>/<environment>/<run> by=NAME generates the images of a submission again.

Examples:
    python -m scripts.check_submissions
    python -m scripts.check_submissions write=true
"""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from eval.atomic import write_text
from eval.errors import RunError
from eval.judging.release import repository_has
from eval.records.canonical import canonical_json, flat_options
from eval.records.gates import read_references
from eval.submissions.board import Mark, render
from eval.submissions.checks import Accepted, Rules, faults
from eval.submissions.layout import folders, name_of, read_invalid
from eval.submissions.protocols import Published, read_published
from scripts.command_line.entry import CONF, ROOT, say, work_on_each
from scripts.jobs.session import Session
from scripts.jobs.shipped import shipped_options
from scripts.tables import method_labels


def main() -> int:
    """Print one line for each submission that does not hold. Returns 1 where one does not, or the page is another."""
    return work_on_each(
        lambda composed, choices: _work(OmegaConf.to_container(composed, resolve=True)), "check_submissions"
    )


def _work(config: dict) -> int:
    root = Path(config["submissions"])
    published = read_published(root)
    rules = Rules(published, read_references(ROOT / config["gates"]), ROOT, repository_has(ROOT))
    asked = config["verify"] if isinstance(config["verify"], list) else [config["verify"]] if config["verify"] else []
    if asked:
        from scripts.finished.regenerated import verify_submission

        session = Session()
        session.join("cpu")
        return max(verify_submission(str(name), root, rules, config, session) for name in asked)
    marks, problems = _marks(root)
    accepted, wrong = faults(root, rules, [root / mark.name for mark in marks])
    problems += wrong
    problems += _page(config, accepted, marks, published) if config["board"] else []
    for one in accepted:
        for sentence in one.unchecked:
            print(f"not checked: {one.submission.name}: {sentence}", flush=True)
    for sentence in problems:
        print(f"rejected: {sentence}", flush=True)
    say(f"{root}: {len(accepted)} submissions hold, {len(marks)} are marked invalid, {len(problems)} problems")
    return int(bool(problems))


def _marks(root: Path) -> tuple[list[Mark], list[str]]:
    marks, problems = [], []
    for folder in folders(root):
        try:
            found = read_invalid(folder)
        except RunError as error:
            problems.append(f"{name_of(folder)}: {error}")
            continue
        if found is not None:
            marks.append(Mark(name_of(folder), **found))
    return marks, problems


def _page(
    config: dict, accepted: Sequence[Accepted], marks: Sequence[Mark], published: Sequence[Published]
) -> list[str]:
    """The page's fault, unless it is to be written."""
    path, text = Path(config["board"]), render(accepted, marks, published, label)
    if config["write"]:
        write_text(path, text)
        say(f"written: {path}")
        return []
    with contextlib.suppress(FileNotFoundError):
        if path.read_text(encoding="utf-8") == text:
            return []
    return [f"{path} is not what the submissions say; run python -m scripts.check_submissions write=true"]


def label(record: dict) -> str:
    """The name of a record's method for readers, with the options that differ from the shipped ones."""
    method, options = record["method"], flat_options(record["config"]["method"])
    name = method_labels().get(method, method)
    if not (CONF / "method" / f"{method}.yaml").is_file():
        return name
    shipped = flat_options(shipped_options(method, record["config"]["sampler"]))
    other = [key for key in options if canonical_json(options[key]) != canonical_json(shipped.get(key))]
    return f"{name} ({', '.join(f'{key}={canonical_json(options[key])}' for key in other)})" if other else name


if __name__ == "__main__":
    sys.exit(main())

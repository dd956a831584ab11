"""Write results/report.html from an experiment's records: tables, claims, figures and images side by side.

Examples:
    python -m scripts.report experiment=smoke
    python -m scripts.report "experiment=[table1,table2]"
"""

import dataclasses
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from eval.errors import RunError
from eval.judging.claim import Claim
from eval.records import load_records
from eval.report.claims import FILE, Claims, read_claims
from eval.report.gather import Gathered, gather
from scripts.command_line.entry import say
from scripts.command_line.sweeps import Part, work_on_sweep
from scripts.finished.claimed import CONFIG, claims_of
from scripts.finished.fitting import fitting
from scripts.jobs.row import resolve
from scripts.tables import table_options, table_specs

TITLE = "Token merging report"


def main() -> int:
    """Write the page. Returns 1 where records could not be read or a table not built; the page gives the reason."""

    def work(composed: DictConfig, choices: dict[str, str], part: Part) -> int:
        # Hydra prints what libraries log, and fontTools logs every glyph that goes into a PDF.
        logging.getLogger("fontTools").setLevel(logging.WARNING)
        return _report(resolve(composed), part)

    return work_on_sweep(work, CONFIG)


def _report(config: dict, part: Part) -> int:
    from eval.report.page import folder_of, write_report
    from eval.report.studies.found import find_studies

    results = Path(config["results"])
    runs = results / "runs"
    judged, specs = claims_of(config), table_specs(config)
    unread: list[str] = []
    gathered = gather(
        specs,
        lambda: fitting(load_records(runs, config["runs"], warn=unread.append), config),
        runs,
        options=table_options(config),
        everywhere=lambda: load_records(runs, warn=unread.append),
    )
    profile = specs[0].profile if gathered.overview is None else gathered.profile
    folder = folder_of(results, profile)
    claims = _claims(folder / part.folder / FILE, judged, gathered, unread)
    gathered = dataclasses.replace(gathered, problems=(*gathered.problems, *dict.fromkeys(unread)))
    studies = find_studies(folder, config)
    choice = next((word for word in part.arguments if word.startswith("experiment=")), "")
    more = {"studies": studies, "claims": claims, "choice": choice}
    path = write_report(gathered, folder / part.folder, title=TITLE, **more)
    say(f"written: {path}")
    return _complain(gathered, studies.problems)


def _claims(path: Path, judged: Sequence[Claim], gathered: Gathered, problems: list[str]) -> Claims | None:
    """The verdicts on the claims `judged`, saved in `path`; what cannot be read becomes one of `problems`."""
    try:
        return read_claims(path, judged, gathered)
    except RunError as error:
        problems.append(str(error))
        return None


def _complain(gathered: Gathered, of_studies: Sequence[str]) -> int:
    """Print the problems of the page; 1 for a problem. `scripts.tables` returns 1 for failed and missing rows."""
    problems = (*gathered.problems, *of_studies)
    for problem in problems:
        say(f"problem in the report: {problem}")
    for entry in gathered.incomplete:
        say(f"incomplete row: {entry.label} is {entry.line.status}")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())

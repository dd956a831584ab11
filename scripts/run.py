"""The main command: runs one row, a model, method, prompts and metrics; with --multirun one job per row of a table.

A finished row is skipped and an interrupted one continues. --dry-run forecasts the rows instead: images, hours, disk,
downloads, and everything that is missing.

Examples:
    python -m scripts.run model=tiny method=retom method.ratio=0.5
    python -m scripts.run --multirun experiment=smoke
    python -m scripts.run --dry-run --multirun experiment=table1 reference.path=/data/imagenet/val
"""

import dataclasses
import math
import sys
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from eval.errors import RunError
from eval.interrupts import raise_if_pressed
from eval.judging.objective import Objective
from eval.run.row import Row
from scripts.command_line.entry import CONF, INTERRUPTED, ErrorsOnce, compose_and_call, interrupted, is_user_error, say
from scripts.forecast import dry_run
from scripts.jobs.outcomes import BAD, FAILED, Outcome, Outcomes, Plan, jobs_of, planned, summary
from scripts.jobs.row import build, device_of, read_row
from scripts.jobs.session import Session


def main() -> int:
    """Run every job of the command line; a failing one does not stop the others. Returns the exit status.

    With --dry-run nothing is run: `scripts.forecast.dry_run` forecasts the rows.
    """
    if dry_run.FLAG in sys.argv[1:]:
        return dry_run.main()
    session, outcomes, errors = Session(), Outcomes(), ErrorsOnce()

    def job(composed: DictConfig, choices: dict[str, str]) -> float | None:
        outcome = _run(composed, choices, session, errors)
        outcomes.add(outcome, Path(composed.results) / "runs" / composed.runs)
        return outcome.loss

    status = compose_and_call(job)
    try:
        return _summed_up(status, outcomes, session, errors)
    except KeyboardInterrupt:
        return interrupted()


def _summed_up(status: int, outcomes: Outcomes, session: Session, errors: ErrorsOnce) -> int:
    """Print how every job ended. Returns the exit status; `status` is that of the jobs' command."""
    # Without any outcome, a status of 1 is a mistake in the command line: no job was started.
    plan = _planned() if outcomes.collect() or status in (0, INTERRUPTED) else None
    ended = outcomes.collect(plan)
    if plan is not None:
        outcomes.forget(plan)
    if len(ended) == 1 and errors.has(ended[0].message):
        ended = [dataclasses.replace(ended[0], message="")]
    if ended and session.speaks:
        say(f"\n{summary(ended)}")
    return status or int(any(outcome.status in BAD for outcome in ended))


def _planned() -> Plan | None:
    try:
        return planned(sys.argv[1:], CONF)
    except (HydraException, OmegaConfBaseException):  # already reported when Hydra found it
        return None


def _run(composed: DictConfig, choices: dict[str, str], session: Session, errors: ErrorsOnce) -> Outcome:
    hydra = HydraConfig.get()
    number = 0 if OmegaConf.is_missing(hydra.job, "num") else hydra.job.num
    overrides, name = tuple(hydra.overrides.task), choices.get("method", "?")
    try:
        if hydra.mode == RunMode.RUN and hydra.runtime.choices["hydra/launcher"] == "slurm":
            raise RunError("hydra/launcher=slurm submits the jobs of a sweep; add --multirun, also for a single job")
        session.join(device_of(composed))
        with session.team.phase():
            row = read_row(composed, choices)
        name = f"{row.runs}/{row.name}-{row.hash}"
        if session.speaks:
            say(f"{name}: {len(row.prompts.items())} images")
        objective, tracker = _objective(composed, row), _aside("tracker", composed)
        from scripts.jobs.run_row import run_row  # imports torch: only for a row that is right
        from scripts.jobs.track import track

        with session.progress.row(number + 1, _rows(hydra), name, alone=_is_submitted(hydra)):
            status = run_row(row, session)
        if session.speaks and not row.shard.is_part:
            track(row, tracker)
        return Outcome(number, name, status, overrides, *_judged(objective, row, session))
    except Exception as error:  # printed here, so that the other jobs of a sweep continue; counted in the exit status
        raise_if_pressed()
        if not is_user_error(error):
            session.forget()  # a bug may have left the pipeline in any state
        if session.speaks or not is_user_error(error):
            errors.print_error(error, name)
        lines = str(error).splitlines() or [""]
        message = lines[0] if is_user_error(error) else f"{type(error).__name__}: {lines[0]}"
        return Outcome(number, name, FAILED, overrides, message, None if composed.objective is None else math.inf)


def _rows(hydra: HydraConf) -> int | None:
    """Number of rows of the command; None if a search or a command on another machine decides it."""
    if hydra.mode == RunMode.RUN:
        return 1
    if _is_submitted(hydra):  # the command line is that of the job
        return None
    given = get_args_parser().parse_args(sys.argv[1:]).overrides
    jobs = jobs_of(hydra.sweeper, OverridesParser.create().parse_overrides(given))
    return None if jobs is None else len(jobs)


def _is_submitted(hydra: HydraConf) -> bool:
    return hydra.runtime.choices["hydra/launcher"] != "basic"


def _aside(group: str, composed: DictConfig) -> Any:
    """An option besides the row itself; None if nothing is chosen."""
    options = composed.get(group)
    if OmegaConf.is_config(options):
        options = OmegaConf.to_container(options, resolve=True)
    return None if options is None else build(group, options, list(composed.trusted))


def _objective(composed: DictConfig, row: Row) -> Objective | None:
    """What a search minimises, checked against the metrics of the row. ValueError: they do not have it."""
    objective = _aside("objective", composed)
    if objective is None:
        return None
    from eval.metrics.profiles import directions  # imports torch, as the row's metrics have

    return objective.among(directions(row.metrics))


def _judged(objective: Objective | None, row: Row, session: Session) -> tuple[str, float | None]:
    """A search's objective for the row, in words and as the number that it minimises."""
    if objective is None or row.shard.is_part:  # only the job that closes the run has its numbers
        return "", None
    folder = row.folder
    loss = session.team.from_main(lambda: objective.loss(folder.read_record()))
    return objective.words(loss), loss


if __name__ == "__main__":
    sys.exit(main())

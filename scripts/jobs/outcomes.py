"""How the jobs of one command ended, in whichever process each of them ran, and their summary."""

import dataclasses
import datetime
import json
import math
import os
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from eval.atomic import write_json

FAILED, NOT_ENDED = "failed", "not ended"
BAD = (FAILED, NOT_ENDED)
FOLDER = ".sweeps"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How one job ended: "done", "rescored", "already finished", "failed", or "not ended" if it did not report.

    number: its index in the sweep, from 0. name: its run, or its method if it failed before. overrides: set for it by
    the command line or the sweep. message: why it failed, or its objective in a search. loss: what a search minimises,
    infinite for a failed row; None without a search.
    """

    number: int
    name: str
    status: str
    overrides: tuple[str, ...] = ()
    message: str = ""
    loss: float | None = None


@dataclasses.dataclass(frozen=True)
class Plan:
    """The jobs of a command line: the overrides of each, and the folder of its runs."""

    jobs: tuple[tuple[str, ...], ...]
    folder: Path


class Outcomes:
    """The outcomes of one command's jobs.

    A job in this process adds its own. A launcher that runs jobs elsewhere (Slurm) passes them a copy of this object;
    the outcome then becomes a file next to the runs, which `collect` in the first process reads.
    """

    def __init__(self) -> None:
        self._home = (socket.gethostname(), os.getpid())
        now = datetime.datetime.now(datetime.UTC)
        self._id = f"{now:%Y%m%dT%H%M%S}-{self._home[0]}-{self._home[1]}"
        self._told: dict[int, Outcome] = {}

    def add(self, outcome: Outcome, folder: Path) -> None:
        """Record how a job ended. folder: that of its experiment's runs."""
        if (socket.gethostname(), os.getpid()) == self._home:
            self._told[outcome.number] = outcome
        else:
            path = self._files(folder) / f"{outcome.number}.json"
            write_json(path, dataclasses.asdict(_after(_read(path), outcome) if path.is_file() else outcome))

    def collect(self, plan: Plan | None = None) -> list[Outcome]:
        """All outcomes by number; a job of `plan` that did not report is "not ended"."""
        if plan is None:
            return [self._told[number] for number in sorted(self._told)]
        found = {number: Outcome(number, "", NOT_ENDED, job) for number, job in enumerate(plan.jobs)}
        for elsewhere in map(_read, self._files(plan.folder).glob("*.json")):
            # Its own overrides also contain the part of the run it was (Slurm's shards, the closing job).
            number = elsewhere.number
            found[number] = dataclasses.replace(elsewhere, overrides=plan.jobs[number])
        found |= self._told
        return [found[number] for number in sorted(found)]

    def forget(self, plan: Plan) -> None:
        """Remove the files of the jobs that ran elsewhere."""
        shutil.rmtree(self._files(plan.folder), ignore_errors=True)
        if (plan.folder / FOLDER).is_dir() and not any((plan.folder / FOLDER).iterdir()):
            (plan.folder / FOLDER).rmdir()

    def _files(self, folder: Path) -> Path:
        return folder / FOLDER / self._id


def planned(arguments: Sequence[str], conf: Path, config: str = "config") -> Plan | None:
    """The jobs that Hydra's own sweeper makes of `arguments`; None without --multirun, or with another sweeper.

    HydraException: a mistake in the arguments.
    """
    parsed = get_args_parser().parse_args(list(arguments))
    if not parsed.multirun:
        return None
    given = OverridesParser.create().parse_overrides(parsed.overrides)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf), version_base="1.3"):
        fixed = [override.input_line for override in given if not override.is_sweep_override()]
        composed = compose(config, overrides=fixed, return_hydra_config=True)
    jobs = jobs_of(composed.hydra.sweeper, given)
    return None if jobs is None else Plan(jobs, Path(composed.results) / "runs" / composed.runs)


def jobs_of(sweeper: DictConfig, given: Sequence[Override]) -> tuple[tuple[str, ...], ...] | None:
    """The overrides of each job that Hydra's own sweeper makes of the `given` ones; None with another sweeper."""
    if not str(sweeper["_target_"]).endswith(".BasicSweeper"):
        return None
    swept = OverridesParser.create().parse_overrides(
        [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
    )
    tasks = [override for override in (*swept, *given) if not override.is_hydra_override()]
    (jobs,) = BasicSweeper.split_arguments(tasks, None)
    return tuple(tuple(job) for job in jobs)


def summary(outcomes: Sequence[Outcome]) -> str:
    """One line for each job: status, run, the overrides that differ between jobs, and why it failed.

    A reason that several jobs share is printed with the first of them.
    """
    shared = set.intersection(*(set(outcome.overrides) for outcome in outcomes))
    lines: list[str] = []
    given: dict[str, str] = {}
    for outcome in outcomes:
        own = " ".join(override for override in outcome.overrides if override not in shared)
        head = f"{outcome.status:<17} {outcome.name}".rstrip() if outcome.name else f"{outcome.status:<17}"
        first = given.setdefault(outcome.message, outcome.name)
        again = outcome.status == FAILED and outcome.message and first != outcome.name
        why = f"the same error as {first}" if again else outcome.message
        lines.append("  ".join(part for part in (head, own, why) if part))
    judged = [index for index, outcome in enumerate(outcomes) if outcome.loss not in (None, math.inf)]
    if judged and len(outcomes) > 1:
        best = min(judged, key=lambda index: outcomes[index].loss)
        lines.append(f"best so far: {lines[best].removeprefix(outcomes[best].status).strip()}")
    return "\n".join(lines)


def _after(before: Outcome, outcome: Outcome) -> Outcome:
    """The combined outcome of a run that several jobs worked on: done if any generated, and the first failure."""
    if before.status == outcome.status == FAILED:
        return before
    if before.status == "done" and outcome.status in ("rescored", "already finished"):
        return dataclasses.replace(outcome, status=before.status)
    return outcome


def _read(path: Path) -> Outcome:
    value = json.loads(path.read_text(encoding="utf-8"))
    return Outcome(**{**value, "overrides": tuple(value["overrides"])})

"""The main job: `python -m scripts.run model=sd15 method=retom`, and with --multirun one job per row of a table."""

import dataclasses
import sys

from omegaconf import DictConfig

from scripts.entry import compose_and_call, is_sentence, say, tell
from scripts.job import run_job
from scripts.row import read_row
from scripts.session import Session


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How one job ended: "done", "rescored", "already finished" or "failed"."""

    name: str
    status: str


def main() -> int:
    """Run every job of the command line; a failing one does not stop the others. Returns the exit status."""
    session, outcomes = Session(), []

    def job(composed: DictConfig, choices: dict[str, str]) -> None:
        outcomes.append(_run(composed, choices, session))

    status = compose_and_call(job)
    if outcomes and session.speaks:
        say("\n".join(["", *(f"{outcome.status:<17} {outcome.name}" for outcome in outcomes)]))
    return status or int(any(outcome.status == "failed" for outcome in outcomes))


def _run(composed: DictConfig, choices: dict[str, str], session: Session) -> Outcome:
    name = choices["method"]
    try:
        session.join(composed.sampler.device)
        with session.team.phase():
            row = read_row(composed, choices)
        name = f"{row.runs}/{row.name}-{row.hash}"
        if session.speaks:
            say(f"{name}: {len(row.prompts.items())} images")
        return Outcome(name, run_job(row, session))
    except Exception as error:  # told here, so that the other jobs of a sweep go on; the exit status remembers it
        if session.speaks or not is_sentence(error):
            tell(error)
        return Outcome(name, "failed")


if __name__ == "__main__":
    sys.exit(main())

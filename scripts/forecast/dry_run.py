"""Forecast of a long run: `python -m scripts.run --dry-run ...` reports rows, images, disk, hours, missing things.

Nothing is generated into results/runs and nothing is downloaded; servers are only asked for sizes. Time per image is
extrapolated from a few short pipeline calls of each row's method on this machine. If the model's weights are not here,
random weights of its architecture are used, which cost the same. Scoring (minutes per 2,000 images) is left out.
"""

import functools
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from eval.interrupts import raise_if_pressed
from scripts.command_line.entry import ErrorsOnce, compose_and_call, given_arguments
from scripts.jobs.row import device_of, read_row
from scripts.jobs.session import Session

FLAG = "--dry-run"
NOT_GIVEN = "(reference.path is not given)"


def main() -> int:
    """Forecast every row of the command line. Returns 1 if something is missing for a row."""
    session, forecasts, failed, errors = Session(), [], [], ErrorsOnce()

    @functools.cache
    def sizes():
        from eval.run.needs import Sizes

        return Sizes()

    def job(composed: DictConfig, choices: dict[str, str]) -> float:
        try:
            session.join(device_of(composed))
            # So that the row's other requirements are checked as well; other kinds need no path.
            if composed.reference.get("path") is None and composed.reference.get("kind") in ("folder", "parquet"):
                composed.reference.path = NOT_GIVEN
            row = read_row(composed, choices)
            from scripts.forecast.forecast import forecast  # imports torch: only for a row that is right

            forecasts.append(forecast(row, session, Path(scratch) / "cache", sizes()))
        except Exception as error:  # printed here, so that the other rows are checked; counted in the exit status
            raise_if_pressed()
            errors.print_error(error, choices.get("method", "?"))
            failed.append(error)
        return math.inf  # the value for a search, which then proposes rows without results

    with tempfile.TemporaryDirectory() as scratch, given_arguments(_without_launching(sys.argv[1:], scratch)):
        status = compose_and_call(job)
    if not forecasts:
        return status or 1
    from scripts.forecast.forecast import lacking_for, render

    lacking = lacking_for(forecasts)
    print(render(forecasts, lacking), flush=True)
    return status or int(bool(lacking or failed))


def _without_launching(arguments: Sequence[str], scratch: str) -> list[str]:
    """The command line without the flag and the launcher: rows are checked here, one after the other."""
    kept = [word for word in arguments if word != FLAG and not word.lstrip("+~").startswith("hydra/launcher=")]
    kept = [word for word in kept if not word.lstrip("+~").startswith("hydra.launcher.")]
    return [*kept, f"hydra.sweep.dir={scratch}/sweep"]

"""What was measured beside the runs and belongs on the page: Figure 3, staleness, and seconds with random weights."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.errors import RunError
from eval.records.canonical import canonical_json
from eval.report import recording, staleness
from eval.report.drawing import Drawing
from eval.report.recording import Recording, read_recording
from eval.report.similarity import draw_recording
from eval.report.speeds import speed_views
from eval.report.staleness import Staleness, draw_staleness, read_staleness
from eval.report.tables_view import View

SHOWN = 4  # of either kind: each recording takes half a megabyte of the page


@dataclass(frozen=True)
class Studies:
    """Those of the page's model and sampler, and the seconds of every card.

    notes: sentences on what is not there; problems: what cannot be read.
    """

    recordings: tuple[Recording, ...] = ()
    measured: tuple[Staleness, ...] = ()
    speeds: tuple[View, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def find_studies(folder: Path, config: Mapping[str, Any]) -> Studies:
    """The recordings and measurements in `folder` of the model and sampler of `config`, the latest first."""
    notes: list[str] = []
    problems: list[str] = []
    recordings = _fitting(folder, recording.PREFIX, read_recording, config, "figure3", notes, problems)
    measured = _fitting(folder, staleness.PREFIX, read_staleness, config, "staleness", notes, problems)
    speeds = speed_views(folder, problems)
    return Studies(tuple(recordings), tuple(measured), tuple(speeds), tuple(notes), tuple(problems))


def draw_studies(studies: Studies, folder: Path) -> list[Drawing]:
    """Their figures, written into `folder`."""
    drawings = [draw_staleness(found, folder) for found in studies.measured]
    return drawings + [drawing for found in studies.recordings for drawing in draw_recording(found, folder)]


def _fitting(
    folder: Path,
    prefix: str,
    read: Callable[[Path], Any],
    config: Mapping[str, Any],
    script: str,
    notes: list[str],
    problems: list[str],
) -> Sequence[Any]:
    found, others = [], 0
    for path in sorted(Path(folder).glob(f"{prefix}*.json")):
        try:
            study = read(path)
            if _choices(study.config) == _choices(config):
                found.append(study)
            else:
                others += 1
        except RunError as error:
            problems.append(str(error))
    what = {"figure3": "recording of Figure 3", "staleness": "measurement of staleness"}[script]
    if not found:
        notes.append(f"There is no {what} of this model and sampler; python -m scripts.{script} makes one.")
    if others:
        notes.append(f"{others} of another model or sampler left out: {what}.")
    if len(found) > SHOWN:
        notes.append(f"The latest {SHOWN} of {len(found)} are shown: {what}.")
    found.sort(key=lambda study: str(study.provenance["date"]), reverse=True)
    return found[:SHOWN]


def _choices(config: Mapping[str, Any]) -> str:
    try:
        # Both are measured on one image a call, whatever the batch size.
        sampler = {key: value for key, value in config["sampler"].items() if key != "batch_size"}
        return canonical_json({"model": config["model"], "sampler": sampler})
    except (KeyError, AttributeError, ValueError, TypeError) as error:
        raise RunError(f"a configuration cannot be compared ({error})") from error

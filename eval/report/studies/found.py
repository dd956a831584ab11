"""The studies in a folder of results that belong on a page, and their figures."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.errors import RunError
from eval.records.canonical import canonical_json
from eval.report.figures.drawing import Drawing
from eval.report.studies import recording, staleness
from eval.report.studies.recording import Recording, fingerprint, read_recording
from eval.report.studies.similarity import draw_recording
from eval.report.studies.speeds import speed_views
from eval.report.studies.staleness import Staleness, draw_staleness, read_staleness
from eval.report.tables_view import View

SHOWN = 4  # of either kind: each recording takes half a megabyte of the page


@dataclass(frozen=True)
class Studies:
    """Those of the page's model and sampler, and the timings of every card.

    notes: what is absent or left out; problems: what cannot be read.
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


def draw_studies(studies: Studies, folder: Path, names: Mapping[str, str] | None = None) -> list[Drawing]:
    """Their figures, written into `folder`; equal measurements once. names: of methods, by key."""
    names, found = names or {}, []
    for measured in _alike(studies.measured, lambda study: study.table.to_csv()):
        found += _with_equals([draw_staleness(measured[0], folder)], measured)
    for recordings in _alike(studies.recordings, fingerprint):
        label = ", ".join(dict.fromkeys(names.get(each.method, each.method) for each in recordings))
        found += _with_equals(draw_recording(recordings[0], folder, label), recordings)
    return found


def _alike(studies: Sequence[Any], key: Callable[[Any], Any]) -> list[list[Any]]:
    groups: dict[Any, list[Any]] = {}
    for study in studies:
        groups.setdefault(key(study), []).append(study)
    return list(groups.values())


def _with_equals(drawings: Sequence[Drawing], studies: Sequence[Any]) -> list[Drawing]:
    """The figures of the first of equal studies; the caption names the others."""
    others = ", ".join(study.name for study in studies[1:])
    more = f" The measurements of {others} are equal." if others else ""
    return [dataclasses.replace(drawing, alt=drawing.alt + more) for drawing in drawings]


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
        notes.append(f"There is no {what} of this model and sampler. To make one: python -m scripts.{script}.")
    if others:
        notes.append(f"{others} of another model or sampler left out: {what}.")
    if len(found) > SHOWN:
        notes.append(f"The latest {SHOWN} of {len(found)} are shown: {what}.")
    found.sort(key=lambda study: str(study.provenance["date"]), reverse=True)
    return found[:SHOWN]


def _choices(config: Mapping[str, Any]) -> str:
    try:
        # Both are measured with one image per call, whatever the batch size.
        sampler = {key: value for key, value in config["sampler"].items() if key != "batch_size"}
        return canonical_json({"model": config["model"], "sampler": sampler})
    except (KeyError, AttributeError, ValueError, TypeError) as error:
        raise RunError(f"a configuration cannot be compared ({error})") from error

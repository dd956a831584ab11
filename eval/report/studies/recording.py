"""What happened inside one generation, as Figure 3 shows it: arrays in an .npz file, the rest in a .json next to it.

A recording looks at some sites at some steps: the cosine similarities between the tokens of one window, and what each
token of the grid was: not merged, a destination, or merged into another.
"""

import dataclasses
import io
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eval.report.studies.study_files import reading_study, write_study

PREFIX = "figure3_"
_IMAGE = "image"  # its name in the .npz file
ALONE, DESTINATION, MERGED = 0, 1, 2  # what a token of `Panel.state` is
MAX_PANELS, MAX_SIDE = 4096, 1024  # beyond any model of today; a damaged file must not fill the memory

Call = tuple[int, int]  # (step asked for, denoiser call)


@dataclasses.dataclass(frozen=True, eq=False)
class Panel:
    """One site at one step.

    site, layer, layer_type: as in `retom.report`. grid: (H, W) in tokens. asked: the step asked for, of `Recording.of`;
    step: the denoiser call looked at; planned: the call at which the plan in force was made. window: (top, left,
    height, width) in tokens of the window looked into. side: that of the site's windows.
    similarity: cosine between its tokens, [n, n], row-major. state: `ALONE`, `DESTINATION` or `MERGED`, [H, W] uint8.
    """

    site: str
    layer: int
    layer_type: str
    grid: tuple[int, int]
    asked: int
    step: int
    planned: int
    side: int
    window: tuple[int, int, int, int]
    similarity: np.ndarray
    state: np.ndarray

    @property
    def mean(self) -> float | None:
        """Mean similarity of two different tokens of the window; None where it has one token."""
        n = len(self.similarity)
        return float((self.similarity.sum() - np.trace(self.similarity)) / (n * (n - 1))) if n > 1 else None

    @property
    def removed(self) -> float:
        """Share of the grid's tokens that were merged into another."""
        return float((self.state == MERGED).mean())


@dataclasses.dataclass(frozen=True, eq=False)
class Recording:
    """One generation. `of`: what the steps asked for are of; steps: the sampler's own; image: [H, W, 3] uint8.

    config: model, sampler, method, backend. provenance: as in records. measured: on what, in which
    row of the batch.
    """

    name: str
    method: str
    prompt: str
    seed: int
    of: int
    steps: int
    measured: str
    config: Mapping[str, Any]
    provenance: Mapping[str, Any]
    image: np.ndarray
    panels: tuple[Panel, ...]

    @property
    def sites(self) -> list[str]:
        """Names of the sites in the order they run."""
        return list(dict.fromkeys(panel.site for panel in self.panels))

    @property
    def calls(self) -> list[Call]:
        """(asked, step) of every step looked at, in order."""
        return sorted({(panel.asked, panel.step) for panel in self.panels})

    def distinct(self, array: str, sites: Collection[str]) -> list[list[Call]]:
        """The calls in groups that have the same `array` ("similarity" or "state") at every one of `sites`."""
        groups: dict[tuple, list[Call]] = {}
        for call in self.calls:
            own = [panel for panel in self.panels if (panel.asked, panel.step) == call and panel.site in sites]
            content = tuple((panel.site, panel.window, getattr(panel, array).tobytes()) for panel in own)
            groups.setdefault(content, []).append(call)
        return list(groups.values())


def fingerprint(recording: Recording) -> tuple:
    """What the figures of a recording show: equal recordings have equal figures."""
    panels = [(p.site, p.grid, p.asked, p.window, p.similarity.tobytes(), p.state.tobytes()) for p in recording.panels]
    return recording.prompt, recording.seed, recording.measured, recording.image.tobytes(), tuple(panels)


def scaled_steps(asked: list[int], of: int, steps: int) -> dict[int, int]:
    """Which denoiser call shows each step asked for: 300 of 1,000 is call 15 of 50; the first of those that coincide.

    Returns {call: step asked for}. ValueError: a step is not in [0, of).
    """
    wrong = [step for step in asked if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step < of]
    if wrong or not asked:
        got = repr(wrong[0]) if wrong else "none"
        raise ValueError(f"figure3.steps must be at least one whole number in [0, {of - 1}], got {got}")
    found: dict[int, int] = {}
    for step in sorted(asked):
        found.setdefault(step * steps // of, step)
    return found


def write_recording(recording: Recording, folder: Path) -> tuple[Path, Path]:
    """Write `figure3_<name>.npz` and, when it is complete, `figure3_<name>.json` into `folder`; the paths."""
    arrays = {_IMAGE: recording.image}
    for index, panel in enumerate(recording.panels):
        arrays |= {f"similarity_{index}": panel.similarity.astype(np.float16), f"state_{index}": panel.state}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    plain = {field.name: getattr(recording, field.name) for field in dataclasses.fields(recording)}
    plain["panels"] = [_words(panel) for panel in recording.panels]
    del plain["image"]
    return write_study(Path(folder) / f"{PREFIX}{recording.name}.npz", buffer.getvalue(), plain)


def _words(panel: Panel) -> dict[str, Any]:
    fields = [field.name for field in dataclasses.fields(panel)]
    plain = {name: getattr(panel, name) for name in fields if name not in ("similarity", "state")}
    return plain | {"mean": panel.mean, "removed": panel.removed}


def read_recording(path: Path) -> Recording:
    """The recording whose .json is at `path`. RunError: a file is absent or damaged, or they are of different runs."""
    with (
        reading_study(Path(path), ".npz", "recording", "figure3") as (words, content),
        np.load(io.BytesIO(content), allow_pickle=False) as arrays,
    ):
        return _checked(words, arrays)


def _checked(words: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Recording:
    listed = words["panels"]
    if not 0 < len(listed) <= MAX_PANELS:
        raise ValueError(f"it has {len(listed)} panels")
    panels = tuple(_panel(panel, arrays, index) for index, panel in enumerate(listed))
    image = arrays[_IMAGE]
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"its image is {image.dtype} of shape {list(image.shape)}")
    names = [field.name for field in dataclasses.fields(Recording) if field.name not in ("image", "panels")]
    found = {name: words[name] for name in names}
    for name in ("of", "steps", "seed"):
        _whole(name, found[name])
    for name in ("name", "method", "prompt", "measured"):
        _text(name, found[name])
    for name in ("config", "provenance"):
        found[name]["date" if name == "provenance" else "model"]
    return Recording(**found, image=image, panels=panels)


def _panel(words: Mapping[str, Any], arrays: Mapping[str, np.ndarray], index: int) -> Panel:
    names = [field.name for field in dataclasses.fields(Panel) if field.name not in ("similarity", "state")]
    found = {name: words[name] for name in names}
    for name in ("layer", "asked", "step", "planned", "side"):
        _whole(name, found[name])
    for name in ("site", "layer_type"):
        _text(name, found[name])
    for name, count in (("grid", 2), ("window", 4)):
        found[name] = tuple(_whole(name, side) for side in found[name])
        if len(found[name]) != count or max(found[name]) > MAX_SIDE:
            raise ValueError(f"{name} of panel {index} is {words[name]!r}")
    similarity, state = arrays[f"similarity_{index}"].astype(np.float32), arrays[f"state_{index}"]
    tokens = math.prod(found["window"][2:])
    if similarity.shape != (tokens, tokens) or state.shape != found["grid"] or not np.isfinite(similarity).all():
        raise ValueError(f"the arrays of panel {index} do not fit its grid and window")
    return Panel(**found, similarity=similarity, state=state)


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{name} is {value!r}")
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} is {value!r}")
    return value

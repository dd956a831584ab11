"""How stale a reused plan becomes: the measurement as files, and its curves over age and over steps."""

import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import pandas
from matplotlib.axes import Axes

from eval.report.figures.drawing import MARKERS, MUTED, STYLE, Drawing, Numbers, drawing, legend, panels
from eval.report.studies.study_files import reading_study, write_study

PREFIX = "staleness_"
LAYER_TYPES = ("down", "mid", "up")
COLUMNS = {
    "period": int,
    "step": int,
    "age": int,
    "site": str,
    "layer_type": str,
    "windows": int,
    "share": float,
}
_AXES = {"age": "age of the plan (steps)", "step": "step"}


@dataclasses.dataclass(frozen=True, eq=False)
class Staleness:
    """One measurement. table: a row per step and site, with `COLUMNS`; config, provenance: as in records."""

    name: str
    config: Mapping[str, Any]
    provenance: Mapping[str, Any]
    table: pandas.DataFrame


def write_staleness(found: Staleness, folder: Path) -> tuple[Path, Path]:
    """Write `staleness_<name>.csv` and, when it is complete, `staleness_<name>.json` into `folder`; the paths."""
    content = found.table.to_csv(index=False, lineterminator="\n").encode()
    words = {"name": found.name, "config": found.config, "provenance": found.provenance}
    return write_study(Path(folder) / f"{PREFIX}{found.name}.csv", content, words)


def read_staleness(path: Path) -> Staleness:
    """The measurement whose .json is at `path`. RunError: a file is absent or damaged, or of another run."""
    with reading_study(Path(path), ".csv", "measurement", "staleness") as (words, content):
        # As text first: older versions of pandas round the numbers that they parse.
        table = pandas.read_csv(io.BytesIO(content), dtype=str).astype(COLUMNS)
        if list(table.columns) != list(COLUMNS) or not len(table) or not set(table["layer_type"]) <= set(LAYER_TYPES):
            raise ValueError("its table has other columns or no rows")
        if not isinstance(words["name"], str):
            raise ValueError(f"name is {words['name']!r}")
        words["config"]["model"], words["provenance"]["date"]
        return Staleness(words["name"], words["config"], words["provenance"], table)


def draw_staleness(found: Staleness, folder: Path) -> Drawing:
    """The share of windows whose representative would now be another token, over the plan's age and over steps.

    Where every step is as old as its number, as with a period that covers the run, one panel shows both.
    """
    keys = ["age"] if (found.table["age"] == found.table["step"]).all() else ["age", "step"]
    with matplotlib.rc_context(STYLE):
        figure, axes = panels(len(keys), 2.1)
        for axis, key in zip(axes, keys, strict=True):
            _draw_panel(axis, found.table, key)
        legend(figure, axes)
        name = f"{PREFIX}{found.name}"
        alt = _alt(found, keys)
        return drawing(figure, name, _title(found), alt, folder, numbers=_numbers(found), origin=name)


def _draw_panel(axis: Axes, table: pandas.DataFrame, key: str) -> None:
    for place, layer_type in enumerate(LAYER_TYPES):
        curve, colour = over(table, key, layer_type), MUTED[place]
        if not curve.empty:
            style = {"marker": MARKERS[place], "color": colour, "label": f"{layer_type} blocks", "clip_on": False}
            axis.plot(curve.index, 100 * curve["share"], **style, zorder=3)
            axis.fill_between(curve.index, 100 * curve["low"], 100 * curve["high"], color=colour, alpha=0.15, lw=0)
    axis.set(xlabel=_AXES[key], ylabel="representatives changed (%)", ylim=(0, 100))
    axis.xaxis.get_major_locator().set_params(integer=True)


def over(table: pandas.DataFrame, key: str, layer_type: str) -> pandas.DataFrame:
    """By `key` ("age" or "step"): the share over all sites of one type, and those of the lowest and highest site."""
    own = table[table["layer_type"] == layer_type]
    changed = own.assign(changed=own["share"] * own["windows"]).groupby([key, "site"])[["changed", "windows"]].sum()
    by_site = (changed["changed"] / changed["windows"]).groupby(key)
    total = changed.groupby(key).sum()
    return pandas.DataFrame({"share": total["changed"] / total["windows"], "low": by_site.min(), "high": by_site.max()})


def _title(found: Staleness) -> str:
    periods = sorted(set(found.table["period"]))
    return f"Staleness of a reused plan, period {', '.join(map(str, periods))}"


def _alt(found: Staleness, keys: list[str]) -> str:
    ends = []
    for layer_type in LAYER_TYPES:
        curve = over(found.table, "age", layer_type)
        if not curve.empty:
            ends.append(f"{layer_type} {curve['share'].iloc[-1]:.0%} at age {curve.index[-1]}")
    axes = "the plan's age, which equals the step" if keys == ["age"] else "the plan's age and over the step"
    return (
        f"Share of windows whose most representative token differs from the one in the plan, over {axes}. "
        f"Bands are the range over layers. {'; '.join(ends)}."
    )


def _numbers(found: Staleness) -> Numbers:
    curves = {kind: over(found.table, "age", kind) for kind in LAYER_TYPES}
    kinds = [kind for kind, curve in curves.items() if not curve.empty]
    ages = sorted(set(found.table["age"]))
    rows = [(str(age), *(_share(curves[kind], age) for kind in kinds)) for age in ages]
    return Numbers(("age of the plan (steps)", *kinds), tuple(rows))


def _share(curve: pandas.DataFrame, age: int) -> str:
    return f"{curve['share'][age]:.3f}" if age in curve.index else ""

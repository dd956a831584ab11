"""How stale a kept choice grows: the measurement as files, and its curves over age and over steps."""

import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import pandas

from eval.report.drawing import MARKERS, STYLE, Drawing, Numbers, keep, legend, panels, svg_uri
from eval.report.study_files import reading_study, write_study

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


@dataclasses.dataclass(frozen=True, eq=False)
class Staleness:
    """One measurement. table: a line per step and site, the columns `COLUMNS`; config, provenance: as in records."""

    name: str
    config: Mapping[str, Any]
    provenance: Mapping[str, Any]
    table: pandas.DataFrame


def write_staleness(found: Staleness, folder: Path) -> tuple[Path, Path]:
    """Write `staleness_<name>.csv` and, when that is whole, `staleness_<name>.json` into `folder`; the paths."""
    content = found.table.to_csv(index=False, lineterminator="\n").encode()
    words = {"name": found.name, "config": found.config, "provenance": found.provenance}
    return write_study(Path(folder) / f"{PREFIX}{found.name}.csv", content, words)


def read_staleness(path: Path) -> Staleness:
    """The measurement whose words are at `path`. RunError: a file is absent, damaged, or they are of different runs."""
    with reading_study(Path(path), ".csv", "measurement", "staleness") as (words, content):
        # As text first: older versions of pandas round the numbers that they parse themselves.
        table = pandas.read_csv(io.BytesIO(content), dtype=str).astype(COLUMNS)
        if list(table.columns) != list(COLUMNS) or not len(table) or not set(table["layer_type"]) <= set(LAYER_TYPES):
            raise ValueError("its table has other columns or no line")
        if not isinstance(words["name"], str):
            raise ValueError(f"name is {words['name']!r}")
        words["config"]["model"], words["provenance"]["date"]
        return Staleness(words["name"], words["config"], words["provenance"], table)


def draw_staleness(found: Staleness, folder: Path) -> Drawing:
    """The share of windows whose representative would now be another one, over the choice's age and over steps."""
    with matplotlib.rc_context(STYLE):
        figure, axes = panels(2)
        for axis, key, words in ((axes[0], "age", "steps since the choice was made"), (axes[1], "step", "step")):
            for place, layer_type in enumerate(LAYER_TYPES):
                curve = over(found.table, key, layer_type)
                if not curve.empty:
                    axis.plot(curve.index, curve["share"], f"{MARKERS[place]}-", color=f"C{place}", label=layer_type)
                    axis.fill_between(curve.index, curve["low"], curve["high"], color=f"C{place}", alpha=0.15)
            axis.set(xlabel=words, ylabel="windows with another representative", ylim=(-0.02, 1.02))
            axis.xaxis.get_major_locator().set_params(integer=True)
        legend(figure, axes)
        name = f"{PREFIX}{found.name}"
        files = keep(figure, name, folder)
        return Drawing(name, _title(found), svg_uri(figure), _alt(found), files, _numbers(found), name)


def over(table: pandas.DataFrame, key: str, layer_type: str) -> pandas.DataFrame:
    """By `key` ("age" or "step"): share of all windows of the sites of one type, and the lowest and highest site's."""
    own = table[table["layer_type"] == layer_type]
    changed = own.assign(changed=own["share"] * own["windows"]).groupby([key, "site"])[["changed", "windows"]].sum()
    by_site = (changed["changed"] / changed["windows"]).groupby(key)
    total = changed.groupby(key).sum()
    return pandas.DataFrame({"share": total["changed"] / total["windows"], "low": by_site.min(), "high": by_site.max()})


def _title(found: Staleness) -> str:
    periods = sorted(set(found.table["period"]))
    return f"Staleness of a kept choice, period {', '.join(map(str, periods))}"


def _alt(found: Staleness) -> str:
    said = []
    for layer_type in LAYER_TYPES:
        curve = over(found.table, "age", layer_type)
        if not curve.empty:
            said.append(f"{layer_type} {curve['share'].iloc[-1]:.0%} at age {curve.index[-1]}")
    return (
        "Share of windows whose most representative token is no longer the one that was chosen, over the steps since "
        f"then and over all steps; bands reach from the lowest to the highest site. {'; '.join(said)}."
    )


def _numbers(found: Staleness) -> Numbers:
    curves = {kind: over(found.table, "age", kind) for kind in LAYER_TYPES}
    kinds = [kind for kind, curve in curves.items() if not curve.empty]
    ages = sorted(set(found.table["age"]))
    rows = [(str(age), *(_share(curves[kind], age) for kind in kinds)) for age in ages]
    return Numbers(("steps since the choice", *kinds), tuple(rows))


def _share(curve: pandas.DataFrame, age: int) -> str:
    return f"{curve['share'][age]:.3f}" if age in curve.index else ""

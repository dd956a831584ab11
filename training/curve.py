"""Loss curves of a stage, as CSV and PNG."""

from pathlib import Path

import pandas

from eval.atomic import replacing, write_text

SMOOTH = 50  # steps


def write(lines: list[dict[str, float]], path: Path) -> None:
    """Write `path`.csv, a line per step or evaluation, and `path`.png, a panel per column, smoothed over 50 steps."""
    table = pandas.DataFrame(lines)
    write_text(path.with_suffix(".csv"), table.to_csv(index=False))
    _draw(table, path.with_suffix(".png"))


def _draw(table: pandas.DataFrame, path: Path) -> None:
    from matplotlib.figure import Figure  # slow to import; a Figure of its own needs no global state

    columns = [name for name in table.columns if name != "step"]
    figure = Figure(figsize=(3.2 * len(columns), 2.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(columns), squeeze=False)[0], columns, strict=True):
        values = table[["step", name]].dropna()
        drawn = values[name].rolling(SMOOTH, min_periods=1).mean() if len(values) > 4 * SMOOTH else values[name]
        axes.plot(values["step"], drawn)
        axes.set(title=name, xlabel="step")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)

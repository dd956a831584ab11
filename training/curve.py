"""Loss curves of a stage, as CSV and PNG."""

from pathlib import Path

import pandas

from eval.atomic import replacing, write_text

SMOOTH = 50  # steps


def write(lines: list[dict[str, float]], path: Path) -> None:
    """Write `path`.csv, a row per step or evaluation, and `path`.png, a panel per column, smoothed over 50 steps."""
    table = pandas.DataFrame(lines)
    write_text(path.with_suffix(".csv"), table.to_csv(index=False))
    _draw(table, path.with_suffix(".png"))


def _draw(table: pandas.DataFrame, path: Path) -> None:
    import matplotlib  # slow to import

    from eval.report.figures.drawing import DPI, STYLE, panels

    columns = [name for name in table.columns if name != "step"]
    with matplotlib.rc_context(STYLE):
        figure, axes = panels(len(columns), 1.8)
        for axis, name in zip(axes, columns, strict=True):
            values = table[["step", name]].dropna()
            smooth = values[name].rolling(SMOOTH, min_periods=1).mean() if len(values) > 4 * SMOOTH else values[name]
            axis.plot(values["step"], smooth)
            axis.set(title=name, xlabel="step")
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png", dpi=DPI)

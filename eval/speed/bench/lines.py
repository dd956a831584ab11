"""Performance targets of a GPU, checked against the rows measured there."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]
MET, MISSED, UNMEASURED = "met", "missed", "not measured"


@dataclass(frozen=True)
class Line:
    """One target: `what` must be at most `wanted` in every cell. worst: the value furthest from it, and `where`."""

    what: str
    wanted: float
    worst: float | None
    where: str
    cells: int

    @property
    def status(self) -> str:
        """ "met", "missed" or "not measured"."""
        if self.worst is None:
            return UNMEASURED
        return MET if self.worst <= self.wanted else MISSED


def check_lines(rows: Iterable[Row]) -> list[Line]:
    """Every target over the bench's rows (sites and denoisers, all stages together).

    "retom" means its rows of period 20: on triton in a cell that has any there, on gather elsewhere.
    """
    cells = _cells(rows)
    denoisers = {title: cell for title, cell in cells.items() if cell[0]["level"] == "denoiser"}
    large = {title: cell for title, cell in denoisers.items() if cell[0]["pixels"] == 1024 and cell[0]["ratio"] == 0.5}
    return [
        _line("whole denoiser: retom to oracle", 1.05, denoisers, lambda cell: _of_ours(cell, "to_oracle")),
        _line("every cell: retom to tomesd", 1.0, cells, lambda cell: _of_ours(cell, "to_tomesd")),
        _line("denoiser at 1024 px, R = 0.5: retom to none", 1 / 1.3, large, lambda cell: _of_ours(cell, "to_none")),
        _line("retom with p = 1 to p = 20, triton", 1.01, cells, _first_period_to_twentieth),
    ]


def _cells(rows: Iterable[Row]) -> dict[str, list[Row]]:
    cells: dict[str, list[Row]] = {}
    for row in rows:
        if row["status"] == "ok" and row["level"] in ("site", "denoiser"):
            cells.setdefault(row["title"], []).append(row)
    return cells


def _line(what: str, wanted: float, cells: Mapping[str, Sequence[Row]], values: Callable) -> Line:
    found = [(value, title) for title, cell in cells.items() for value in values(cell) if value is not None]
    worst, where = max(found, default=(None, ""))
    return Line(what, wanted, worst, where, len({title for _, title in found}))


def _retom(cell: Sequence[Row], period: int, backend: str) -> list[Row]:
    return [row for row in cell
            if row["method"].startswith("retom") and (row["period"], row["backend"]) == (period, backend)]  # fmt: skip


def _of_ours(cell: Sequence[Row], ratio: str) -> list[float | None]:
    ours = _retom(cell, 20, "triton") or _retom(cell, 20, "gather")
    return [row[ratio] for row in ours]


def _first_period_to_twentieth(cell: Sequence[Row]) -> list[float]:
    """Times of p = 1 over those of p = 20 for the same window."""
    twentieth = {row["window"]: row["seconds"] for row in _retom(cell, 20, "triton")}
    return [row["seconds"] / twentieth[row["window"]]
            for row in _retom(cell, 1, "triton") if row["window"] in twentieth]  # fmt: skip

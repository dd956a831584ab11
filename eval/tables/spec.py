"""What a table is made of: the paper's rows in its order, with the paper's values, as plain data from conf."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

EXTRA_ROWS = ("all", "options", "none")
PROFILES = ("real", "smoke", "none")
SECONDS = "s_per_im"
# SSIM is itself a comparison with the unmerged image of the same seed, and seconds are not paired.
UNPAIRED = (SECONDS, "ssim")
# Metrics whose values follow, beside those that the table is about.
BESIDE = {"fid": ("kid",)}
SMOKE = ("fid", "kid", "clip")


@dataclass(frozen=True)
class TableRow:
    """One row of the paper. labels: the words left of the numbers; paper: its values by metric.

    options: the method's shipped options (conf/method/<method>.yaml, resolved), by which a record is told to be this
    row and not a sweep around it; None where they are not known.
    """

    method: str
    labels: Mapping[str, str]
    paper: Mapping[str, float] = field(default_factory=dict)
    options: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class TableSpec:
    """A table: `name` (of its files), title, label columns, metrics in column order, rows.

    backend: the shipped backend options; a record with another one is an extra row. None: any, if all agree.
    extra_rows: which records beyond the paper's rows follow them: "all", other "options" of its methods, or "none".
    profile: names the columns while there is no record to tell ("smoke" gives fid_smoke and clip_smoke).
    kept: the files lie in results/ itself whatever the profile, to be kept in git.
    ValueError: a name is unknown or twice there.
    """

    name: str
    title: str
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    rows: tuple[TableRow, ...]
    backend: Any = None
    extra_rows: str = "all"
    profile: str = "real"
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    kept: bool = False

    def __post_init__(self) -> None:
        for kind, value, allowed in (("extra_rows", self.extra_rows, EXTRA_ROWS), ("profile", self.profile, PROFILES)):
            if value not in allowed:
                raise ValueError(f"{kind} of {self.name} must be one of {', '.join(allowed)}, got {value!r}")
        methods = [row.method for row in self.rows]
        twice = sorted({method for method in methods if methods.count(method) > 1})
        if twice:
            raise ValueError(f"{self.name} has two rows of method {twice[0]!r}; each method has one row")
        if not self.rows:
            raise ValueError(f"{self.name} has no rows")

    @classmethod
    def from_data(
        cls, data: Mapping, *, methods: Mapping[str, Mapping] | None = None, backend: Any = None
    ) -> "TableSpec":
        """Read plain data: {name, title, rows: [{method, model, <label>: ..., paper: {<metric>: value}}]}.

        Label columns and metrics are those of the rows in their order of appearance, unless `labels` and `metrics`
        list them; `extra_rows`, `profile` and `kept` may be given. `methods` maps method names to their shipped
        options, for methods beyond the table's rows too. ValueError: a key is unknown or absent.
        """
        known = ("name", "title", "labels", "metrics", "rows", "extra_rows", "profile", "kept")
        for key in data:
            if key not in known:
                raise ValueError(f"a table has no key {key!r}; allowed: {', '.join(known)}")
        for key in ("name", "rows"):
            if key not in data:
                raise ValueError(f"a table needs the key {key!r}; it has {', '.join(data)}")
        methods = dict(methods or {})
        rows = tuple(_row(row, data["name"], methods) for row in data["rows"])
        return cls(
            name=data["name"],
            title=data.get("title", data["name"]),
            labels=tuple(data.get("labels") or _union(row.labels for row in rows)),
            metrics=tuple(data.get("metrics") or _union(row.paper for row in rows)),
            rows=rows,
            backend=backend,
            extra_rows=data.get("extra_rows", "all"),
            profile=data.get("profile", "real"),
            methods=methods,
            kept=data.get("kept", False),
        )


def _row(row: Mapping, table: str, methods: Mapping[str, Mapping]) -> TableRow:
    if "method" not in row:
        raise ValueError(f"a row of {table} has no method; it has {', '.join(row)}")
    labels = {"model": row["method"]} | {key: row[key] for key in row if key not in ("method", "paper")}
    paper = dict(row.get("paper") or {})
    wrong = [key for key, value in paper.items() if isinstance(value, bool) or not isinstance(value, int | float)]
    if wrong:
        raise ValueError(f"paper.{wrong[0]} of {row['method']} in {table} must be a number, got {paper[wrong[0]]!r}")
    words = {key: "" if value is None else str(value) for key, value in labels.items()}
    return TableRow(row["method"], words, paper, methods.get(row["method"]))


def _union(mappings: Any) -> Sequence[str]:
    return list(dict.fromkeys(key for mapping in mappings for key in mapping))


def metric_name(metric: str, profile: str) -> str:
    """The metric's name in records and columns: the smoke profile's FID, KID and CLIP are not FID, KID and CLIP."""
    return f"{metric}_smoke" if profile == "smoke" and metric in SMOKE else metric

"""What a table is made of: the paper's rows in its order, with the paper's values, as plain data from conf."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from eval.records.schema import BASELINE, check_name

EXTRA_ROWS = ("all", "options", "none")
PROFILES = ("real", "smoke", "none")
SECONDS = "s_per_im"
# SSIM is itself a comparison with the baseline's image of the same seed, and times are not paired.
UNPAIRED = (SECONDS, "ssim")
# Metrics that are reported together with those that the table is about.
BESIDE = {"fid": ("kid",)}
SMOKE = ("fid", "kid", "clip")
# What the shipped profiles measure; your own profile may measure more.
METRICS = ("fid", "fid_legacy_pytorch", "kid", "clip", "clip_vitl14", "ssim", SECONDS)
HIGHER_IS_BETTER = ("clip", "clip_vitl14", "ssim")


@dataclass(frozen=True)
class TableRow:
    """One row of the paper. labels: the words left of the numbers; paper: its values by metric.

    options: the method's shipped options (conf/method/<method>.yaml, resolved), which tell a record of this
    row from a sweep around it; None where they are not known.
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
    profile: names the columns while there is no record ("smoke" gives fid_smoke and clip_smoke).
    kept: the files are written to results/ itself whatever the profile, to be committed.
    names: what methods are called, by method (conf/labels.yaml).
    more: metrics that the records have beyond those of the shipped profiles (`with_more`); they follow `metrics`.
    directions: which values of them are better, for those whose records say it.
    ValueError: a name is unknown, listed twice, or not a file name.
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
    names: Mapping[str, str] = field(default_factory=dict)
    more: tuple[str, ...] = ()
    directions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name("the name of a table", self.name)
        for kind, value, allowed in (("extra_rows", self.extra_rows, EXTRA_ROWS), ("profile", self.profile, PROFILES)):
            if value not in allowed:
                raise ValueError(f"{kind} of {self.name} must be one of {', '.join(allowed)}, got {value!r}")
        methods = [row.method for row in self.rows]
        twice = sorted({method for method in methods if methods.count(method) > 1})
        if twice:
            raise ValueError(f"{self.name} has two rows of method {twice[0]!r}; each method has one row")
        if not self.rows:
            raise ValueError(f"{self.name} has no rows")
        if "model" not in self.labels:
            raise ValueError(f"labels of {self.name} must have model among them, got {', '.join(self.labels)}")

    @property
    def measured(self) -> tuple[str, ...]:
        """The metrics that have columns of ours."""
        return (*self.metrics, *self.more)

    def with_more(self, records: Sequence[Mapping]) -> "TableSpec":
        """The same table with the further metrics of `records`, which no table of conf/ needs to list."""
        found = dict.fromkeys(name for record in records for name in record["metrics"])
        known = {*self.metrics, *METRICS}
        more = [name for name in found if name not in known and name.removesuffix("_smoke") not in SMOKE]
        ways = {name: {record["metrics"].get(name, {}).get("better") for record in records} - {None} for name in found}
        agreed = {name: each.pop() for name, each in ways.items() if len(each) == 1}
        return replace(self, more=tuple(more), directions=agreed)

    def better(self, name: str) -> str | None:
        """Which values of a column are better: "lower" or "higher"; None if unknown."""
        return better(name) or self.directions.get(name)

    def name_of(self, method: str) -> str:
        """The name of a method: that of `names`, else the row's `model`, else its key. The baseline: `model` first."""
        models = {row.method: row.labels["model"] for row in self.rows}
        if method == BASELINE and method in models:
            return models[method]
        return self.names.get(method) or models.get(method) or method

    @classmethod
    def from_data(
        cls,
        data: Mapping,
        *,
        methods: Mapping[str, Mapping] | None = None,
        backend: Any = None,
        names: Mapping[str, str] | None = None,
    ) -> "TableSpec":
        """Read plain data: {name, title, rows: [{method, model, <label>: ..., paper: {<metric>: value}}]}.

        Label columns and metrics are those of the rows in their order of appearance, unless `labels` and `metrics`
        list them; `extra_rows`, `profile` and `kept` may be given. `methods` maps method names to their shipped
        options, for methods beyond the table's rows too; `names` to their labels, which a row without `model` has.
        ValueError: a key is unknown or absent.
        """
        known = ("name", "title", "labels", "metrics", "rows", "extra_rows", "profile", "kept")
        for key in data:
            if key not in known:
                raise ValueError(f"a table has no key {key!r}; allowed: {', '.join(known)}")
        for key in ("name", "rows"):
            if key not in data:
                raise ValueError(f"a table needs the key {key!r}; it has {', '.join(data)}")
        methods, names, name = dict(methods or {}), dict(names or {}), data["name"]
        rows = tuple(_row(row, name, methods, names) for row in _listed("rows", name, data["rows"], Mapping))
        return cls(
            name=name,
            title=str(data.get("title", name)),
            labels=tuple(_listed("labels", name, data.get("labels") or _union(row.labels for row in rows), str)),
            metrics=tuple(_listed("metrics", name, data.get("metrics") or _union(row.paper for row in rows), str)),
            rows=rows,
            backend=backend,
            extra_rows=data.get("extra_rows", "all"),
            profile=data.get("profile", "real"),
            methods=methods,
            kept=data.get("kept", False),
            names=names,
        )


def _row(row: Mapping, table: str, methods: Mapping[str, Mapping], names: Mapping[str, str]) -> TableRow:
    if "method" not in row:
        raise ValueError(f"a row of {table} has no method; it has {', '.join(row)}")
    if not isinstance(row["method"], str) or not all(isinstance(key, str) for key in row):
        raise ValueError(f"method of a row of {table} and its other keys must be texts, got {dict(row)!r}")
    if not isinstance(row.get("paper") or {}, Mapping):
        raise ValueError(f"paper of {row['method']} in {table} must be values by metric, got {row['paper']!r}")
    labels = {"model": names.get(row["method"], row["method"])} | {
        key: row[key] for key in row if key not in ("method", "paper")
    }
    paper = dict(row.get("paper") or {})
    wrong = [key for key, value in paper.items() if isinstance(value, bool) or not isinstance(value, int | float)]
    if wrong:
        raise ValueError(f"paper.{wrong[0]} of {row['method']} in {table} must be a number, got {paper[wrong[0]]!r}")
    words = {key: "" if value is None else str(value) for key, value in labels.items()}
    return TableRow(row["method"], words, paper, methods.get(row["method"]))


def _listed(key: str, table: str, values: object, kind: type) -> Sequence[Any]:
    if not isinstance(values, list | tuple) or not all(isinstance(value, kind) for value in values):
        what = "mappings with the key method" if kind is Mapping else "names"
        raise ValueError(f"{key} of the table {table} must be a list of {what}, got {values!r}")
    return values


def _union(mappings: Any) -> Sequence[str]:
    return list(dict.fromkeys(key for mapping in mappings for key in mapping))


def better(name: str) -> str | None:
    """Which values of a metric, also of the smoke profile's, are better: "lower" or "higher"; None if unknown."""
    metric = name.removesuffix("_smoke")
    if metric not in METRICS:
        return None
    return "higher" if metric in HIGHER_IS_BETTER else "lower"


def metric_name(metric: str, profile: str) -> str:
    """The metric's name in records and columns: the smoke profile's FID, KID and CLIP are not FID, KID and CLIP."""
    return f"{metric}_smoke" if profile == "smoke" and metric in SMOKE else metric

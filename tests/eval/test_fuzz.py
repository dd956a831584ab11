"""Records and manifests from anywhere: a sentence or a result, no traceback, and nothing outside the run folder."""

import contextlib
import copy
import io
import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from eval.errors import RunError
from eval.records import RunFolder, load_records, run_id
from eval.report.figures.points import points
from eval.report.figures.sweeps import curves
from eval.report.gallery import gallery
from eval.report.gather import gather
from eval.report.provenance import origins
from eval.report.tables_view import view
from eval.tables import build_table, csv_text, write_table
from eval.tables.markdown import render
from eval.tables.spec import TableSpec
from eval.tables.tidy import tidy
from tests.eval.sample_records import make_record
from tests.eval.sample_specs import TABLE1, TABLE2, make_spec

_FILE = io.BytesIO()
Image.new("RGB", (8, 8), "red").save(_FILE, format="PNG")
IMAGE = _FILE.getvalue()
SPECS = [make_spec(TABLE1), make_spec(TABLE2)]
BOUNDED = settings(
    derandomize=True,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),  # what fails is printed; shrinking it takes minutes
    database=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
TEXTS = st.sampled_from(
    ["", "../../x", "/etc/passwd", "a\u2028b", "</script>", "\x00", "ok", "${oc.env:HOME}", "n" * 300]
)
SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | TEXTS | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """Every key and index in nested dicts and lists."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, item in inner for place in ((*path, key), *places(item, (*path, key)))]


def changed(value: Any, path: tuple, new: Any, *, remove: bool) -> Any:
    """A copy of `value` with another item at `path`, or none."""
    value = copy.deepcopy(value)
    at = value
    for key in path[:-1]:
        at = at[key]
    if remove:
        del at[path[-1]]
    else:
        at[path[-1]] = new
    return value


def lay(runs: Path, record: dict) -> Path:
    """The empty folder of a run."""
    folder = runs / run_id(record)
    (folder / "images").mkdir(parents=True)
    return folder


def outside(root: Path, inside: Path) -> dict[str, bytes]:
    """What lies below `root` but not below `inside`."""
    files = [path for path in root.rglob("*") if path.is_file() and inside not in path.parents]
    return {str(path): path.read_bytes() for path in files}


@BOUNDED
@given(data=st.data())
def test_any_record_is_read_or_reported(data: st.DataObject, tmp_path_factory) -> None:
    record = make_record(status=data.draw(st.sampled_from(["ok", "failed"])))
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(places(record)))
        record = changed(record, path, data.draw(VALUES), remove=data.draw(st.integers(0, 4)) == 0)
    look_at_everything(tmp_path_factory.mktemp("fuzz"), json.dumps(record).encode())


@BOUNDED
@given(data=st.data())
def test_any_table_is_built_or_reported(data: st.DataObject, tmp_path_factory) -> None:
    asked = data.draw(
        st.sampled_from([TABLE1, TABLE2 | {"labels": ["model", "destination"], "metrics": ["fid", "ssim"]}])
    )
    for _ in range(data.draw(st.integers(1, 2))):
        asked = changed(
            asked, data.draw(st.sampled_from(places(asked))), data.draw(VALUES), remove=data.draw(st.booleans())
        )
    root = tmp_path_factory.mktemp("fuzz")
    with contextlib.suppress(ValueError, RunError):
        table = build_table(TableSpec.from_data(asked), [make_record(), make_record("none")])
        write_table(table, root / "results")
    assert outside(root, root / "results") == {}


@BOUNDED
@given(cut=st.integers(0, 3000), inserted=st.binary(max_size=6))
def test_any_bytes_are_no_record_or_one(cut: int, inserted: bytes, tmp_path_factory) -> None:
    whole = json.dumps(make_record()).encode()
    look_at_everything(tmp_path_factory.mktemp("fuzz"), whole[:cut] + inserted + whole[cut + len(inserted) :])


def look_at_everything(root: Path, text: bytes) -> None:
    """Put `text` in the place of a record, next to a good run, and use it in everything that reads records."""
    runs, good = root / "runs", make_record("none")
    folder = lay(runs, make_record())
    (lay(runs, good) / "record.json").write_text(json.dumps(good))
    (folder / "record.json").write_bytes(text)
    before, output = outside(root, folder), []
    records = load_records(runs, warn=output.append)
    assert good in records
    assert (len(records), len(output)) in ((2, 0), (1, 1))
    assert all("\n" not in sentence for sentence in output)
    tidy(records).to_csv()
    gathered = gather(SPECS, lambda: records, runs)
    for table in gathered.tables:
        csv_text(table), render(table), view(table)
    origins(gathered), points(gathered, "fid"), curves(gathered)
    with contextlib.suppress(RunError):  # of another version
        RunFolder(runs, "table1", "retom", folder.name.rpartition("-")[2]).read_record()
    assert outside(root, folder) == before


LINES = st.lists(
    st.dictionaries(st.sampled_from(["key", "prompt", "seed", "file", "class_index"]), VALUES, max_size=5).map(
        json.dumps
    )
    | st.text(max_size=12),
    max_size=3,
)


@BOUNDED
@given(lines=LINES, good=st.booleans(), name=TEXTS | st.sampled_from(["..", ".", "0.png", "link.png", "images/0.png"]))
def test_any_manifest_is_read_or_reported(lines: list[str], good: bool, name: str, tmp_path_factory) -> None:
    root = tmp_path_factory.mktemp("fuzz")
    (root / "outside.png").write_bytes(b"mine")
    record = make_record()
    folder = lay(root / "runs", record)
    (folder / "record.json").write_text(json.dumps(record))
    item = {"key": "0", "prompt": "a newt", "seed": 7, "file": "0.png"}
    (folder / "manifest.jsonl").write_text(json.dumps(item) + "\n")
    (folder / "images" / "0.png").write_bytes(IMAGE)
    (folder / "images" / "link.png").symlink_to(root / "outside.png")
    kept = (folder / "manifest.jsonl").read_text() if good else ""
    item = json.dumps({"key": "k", "prompt": "p", "seed": 1, "file": name})
    (folder / "manifest.jsonl").write_text("\n".join([kept.rstrip("\n"), item, *lines]).lstrip("\n") + "\n")
    before = outside(root, folder)
    found = gallery(gather(SPECS, lambda: load_records(root / "runs"), root / "runs"))
    assert not any(image.uri for row in found.rows for image in row.images if row.key == "k" and name != "0.png")
    run = RunFolder(root / "runs", "table1", "retom", folder.name.rpartition("-")[2])
    with contextlib.suppress(RunError):
        for entry in run.read_manifest() or []:
            assert run.image_path(entry).resolve().parent == (folder / "images").resolve()
    assert outside(root, folder) == before

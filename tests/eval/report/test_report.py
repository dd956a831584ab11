"""The report from records and images: what is shown, in which order, and that bad input becomes words on the page."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from eval.errors import RunError
from eval.records import load_records, run_id
from eval.report.figures.points import Point, front, points
from eval.report.figures.sweeps import curves
from eval.report.gallery import gallery, spread
from eval.report.gather import Gathered, gather
from eval.report.page import write_report
from eval.report.tables_view import view
from eval.tables import csv_text
from tests.eval.sample_records import make_metric, make_record
from tests.eval.sample_runs import PROMPTS, write_run
from tests.eval.sample_specs import TABLE1, TABLE2, make_spec

OPTIONS = {"ratio": 0.5, "window": {"down": 2, "mid": 8}}
SPECS = [make_spec(TABLE1), make_spec(TABLE2)]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Unmerged, ToMeSD, ReToM and a ReToM of another ratio; ATC and the least representative one are missing."""
    runs = tmp_path / "runs"
    write_run(runs, make_record("none", fid=37.5, seconds=2.6))
    write_run(runs, make_record("tomesd", fid=38.0, seconds=2.1), noise=0.2)
    write_run(runs, make_record("retom", fid=35.0, seconds=2.2, **OPTIONS), noise=0.05)
    write_run(runs, make_record("retom", fid=36.0, seconds=2.0, **OPTIONS | {"ratio": 0.75}), noise=0.1)
    return runs


def gathered(runs: Path, **options) -> Gathered:
    return gather(SPECS, lambda: load_records(runs), runs, **options)


def written(runs: Path, **options) -> str:
    return write_report(gathered(runs, **options), runs.parent, title="Report").read_text(encoding="utf-8")


class Page(HTMLParser):
    """What a browser would fetch, show and run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts, self.addresses, self.ids, self.targets, self.alts = [], [], [], [], []
        self.words, self._in = [], None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        found = dict(attrs)
        self._in = tag
        self.scripts += [[]] if tag == "script" else []
        self.addresses += [found["src"]] if "src" in found else []
        self.addresses += [found["href"]] if tag == "link" else []
        self.targets += [found["href"][1:]] if tag == "a" and found["href"].startswith("#") else []
        self.ids += [found["id"]] if "id" in found else []
        self.alts += [found.get("alt")] if tag == "img" else []

    def handle_endtag(self, tag: str) -> None:
        self._in = None

    def handle_data(self, data: str) -> None:
        if self._in == "script":
            self.scripts[-1].append(data)
        elif self._in != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_the_page_needs_no_other_file(runs: Path) -> None:
    text = written(runs)
    page = Page(text)
    assert page.addresses
    assert all(address.startswith("data:") for address in page.addresses)
    assert not re.findall(r"url\(|@import|https?://", text)
    assert len(page.ids) == len(set(page.ids))
    assert set(page.targets) <= set(page.ids)
    assert None not in page.alts


def test_figures_are_next_to_the_page(runs: Path) -> None:
    written(runs)
    names = {path.name for path in (runs.parent / "figures").iterdir()}
    assert names == {f"{name}.{kind}" for name in ("quality_speed", "sweep_ratio") for kind in ("png", "pdf")}
    for path in (runs.parent / "figures").glob("*.png"):
        with Image.open(path) as opened:
            assert opened.size[0] > 1000


def test_prompts_are_text_and_nothing_else(runs: Path) -> None:
    page = Page(written(runs))
    assert PROMPTS[1] in page.text
    assert len(page.scripts) == 2
    assert not any("alert" in "".join(script) for script in page.scripts)


def test_names_from_records_are_escaped_too(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", make_record("retom", **OPTIONS | {"note": "</script><b onclick='x'>$_{}"}))
    page = Page(written(tmp_path / "runs"))
    assert "<b onclick='x'>$_{}" in page.text
    exports = json.loads("".join(page.scripts[0]))
    assert "</script>" in str(exports["table1"]["rows"])


def test_exports_hold_the_csv_fields(runs: Path) -> None:
    table = gathered(runs).tables[0]
    shown = view(table)
    lines = csv_text(table).splitlines()
    assert ",".join(shown.csv_header) == lines[0]
    assert ",".join(shown.rows[0].csv) == lines[1]
    cell = shown.rows[3].cells[3]
    assert (cell.text, cell.interval, cell.value) == ("35.00", "[34.00, 36.25]", 35.0)
    assert shown.rows[2].cells[3].text == "missing"


def test_every_number_leads_to_its_run(runs: Path) -> None:
    page = Page(written(runs))
    for record in load_records(runs):
        assert page.targets.count(f"run-{run_id(record)}") >= 3
    assert "c" * 40 in page.text


def test_the_worst_pair_comes_first(runs: Path) -> None:
    found = gallery(gathered(runs))
    assert [row.key for row in found.rows] == ["0002_000", "0001_000", "0000_000"]
    assert [entry.label for entry in found.columns] == [
        "Stable Diffusion",
        "ReToM (Ours)",
        "ToMeSD",
        "ReToM (Ours), ratio=0.75",
    ]
    worst = found.rows[0]
    assert worst.images[0].ssim is None
    assert worst.lowest == worst.images[2].ssim < worst.images[3].ssim < worst.images[1].ssim < 1


def test_the_budget_limits_the_images_and_says_so(runs: Path) -> None:
    whole = gallery(gathered(runs))
    size = sum(len(picture.uri) for picture in whole.rows[0].images)
    less = gallery(gathered(runs), budget=size + 1)
    assert len(less.rows) == 1
    assert "1 prompts" in less.problems[0]
    assert len(gallery(gathered(runs), prompts=2).rows) == 2


def test_images_are_reduced(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", make_record("none"), side=600)
    found = gallery(gathered(tmp_path / "runs"))
    assert all(len(row.images[0].uri) < 100_000 for row in found.rows)


def test_prompts_are_spread_evenly() -> None:
    assert spread(range(10), 4) == [0, 2, 5, 7]
    assert spread(range(3), 4) == [0, 1, 2]


def test_absent_damaged_and_invalid_images_are_shown_as_such(runs: Path) -> None:
    record = make_record("retom_least", invalid=2)
    folder = write_run(runs, record, noise=0.1)
    (folder / "images" / "2.png").unlink()
    (folder / "images" / "1.png").write_bytes(b"no picture")
    page = Page(written(runs))
    assert f"2 of the 3 images shown here are absent in {run_id(record)}." in page.text
    for words in ("no such file", "unreadable", "invalid: constant", "2 of 100 images are invalid"):
        assert words in page.text


def test_seconds_of_a_busy_device_are_marked_and_the_mark_is_explained(runs: Path) -> None:
    assert "†" not in Page(written(runs)).text
    for path in runs.rglob("record.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        record["timing"]["quiet"] = False
        path.write_text(json.dumps(record), encoding="utf-8")
    text = Page(written(runs)).text
    assert "† Timed while other processes were using the device." in text
    assert "2.60†" in text


def test_failed_and_missing_rows_are_listed_first(runs: Path) -> None:
    write_run(runs, make_record("atc", status="failed"), prompts=())
    page = Page(written(runs)).text
    top = page[page.index("Problems and incomplete rows") :][:400]
    assert "failed : ATC" in top
    assert "no space | left." in top
    assert "missing : retom_least" in top


def test_a_metric_that_could_not_be_had_says_why(runs: Path) -> None:
    record = make_record("retom_least")
    record["metrics"]["fid"] = make_metric(None)
    write_run(runs, record, noise=0.1)
    assert gathered(runs).without_value == [("fid", "the images are all one colour", ["retom_least"])]
    assert "No fid of retom_least: the images are all one colour" in Page(written(runs)).text


def test_a_method_in_one_table_only_is_in_the_figures_once(runs: Path) -> None:
    write_run(runs, make_record("retom_least", fid=36.3, seconds=2.2), noise=0.1)
    names = [entry.key for entry in gathered(runs).entries]
    assert len(names) == len(set(names)) == 6
    assert "retom_least" in [point.entry.key for point in points(gathered(runs), "ssim")]


def refused() -> list[dict]:
    raise RunError("the records cannot be read; give access to them.")


def test_no_runs_unreadable_records_and_mixed_protocols_become_pages(runs: Path, tmp_path: Path) -> None:
    empty = Page(written(tmp_path / "empty"))
    assert empty.text.count("missing") > 5
    assert "There are no images to show" in empty.text
    unread = write_report(gather(SPECS, refused, runs), tmp_path / "unread", title="Report").read_text(encoding="utf-8")
    assert "give access to them" in Page(unread).text
    write_run(runs, make_record("atc", model="other"))
    mixed = gathered(runs)
    assert mixed.tables == ()
    assert "would mix 2 protocols" in Page(written(runs)).text
    assert len(gathered(runs, options={"select": {"model": "tiny"}}).tables) == 2


@pytest.mark.parametrize(
    "manifest", ["{not json\n", '{"key": 1}\n', "[1]\n", '{"key":"a","prompt":"b","seed":1,"file":"../a.png"}\n', None]
)
def test_a_bad_manifest_costs_the_images_of_its_run_alone(manifest: str | None, runs: Path) -> None:
    path = runs / run_id(make_record("tomesd")) / "manifest.jsonl"
    if manifest is None:
        path.unlink()
    else:
        path.write_text(manifest, encoding="utf-8")
    found = gallery(gathered(runs))
    assert [entry.label for entry in found.columns] == ["Stable Diffusion", "ReToM (Ours)", "ReToM (Ours), ratio=0.75"]
    assert "table1/tomesd-" in found.problems[0]


def test_the_front_holds_what_nothing_beats(runs: Path) -> None:
    found = points(gathered(runs), "fid")
    assert [(point.x, point.y) for point in front(found, "fid")] == [(2.0, 36.0), (2.2, 35.0)]
    rising = [Point(found[0].entry, x, y, None, None) for x, y in [(1, 5), (1, 6), (2, 4), (3, 7)]]
    assert [(point.x, point.y) for point in front(rising, "clip")] == [(1, 6), (3, 7)]


def test_points_carry_their_intervals(runs: Path) -> None:
    first = points(gathered(runs), "fid")[0]
    assert first.y_interval == (36.5, 38.75)
    low, high = first.x_interval
    assert low < first.x < high


def test_a_curve_is_of_one_option_alone(runs: Path) -> None:
    write_run(runs, make_record("retom", **OPTIONS | {"ratio": 0.25, "window": {"down": 4, "mid": 8}}))
    found = curves(gathered(runs))
    assert list(found) == ["ratio"]
    (curve,) = found["ratio"]
    assert (curve.name, curve.values) == ("ReToM (Ours)", (0.5, 0.75))

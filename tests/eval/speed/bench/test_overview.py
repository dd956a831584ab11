"""All stages on one page and in one table of a terminal."""

import csv
import json
from pathlib import Path

from eval.provenance import collect
from eval.speed.bench.overview import COLUMNS, WIDTH, Overview, Stage, terminal, write_overview
from eval.speed.bench.table import facts

PROVENANCE = collect(root=Path(__file__).parent)


def row(method: str, **changes) -> dict:
    place = {"title": "denoiser sdxl", "level": "denoiser", "model": "sdxl", "pixels": 1024, "steps": None,
             "tokens": None, "channels": None, "dtype": "float16", "batch": 16, "ratio": 0.25, "attention": "naive",
             "mode": "reduce-overhead", "period": 20, "window": "2/8/2", "backend": "triton", "status": "ok",
             "samples": [1.0]}  # fmt: skip
    ratios = {"seconds": 12.3456, "to_none": 0.5, "to_oracle": 1.2, "to_tomesd": 0.9}
    return {**place, "method": method, **ratios, **facts(PROVENANCE), **changes}


def site(method: str, **changes) -> dict:
    return row(method, level="site", model=None, tokens=16384, channels=320, title="site", **changes)


def overview() -> Overview:
    test = {"title": "tests/a.py::test_b", "method": "test", "status": "failed", "error": "it is not equal"}
    missing = {"status": "missing", "seconds": None, "error": "not measured: the time was up before its turn",
               "to_none": None, "to_oracle": None, "to_tomesd": None}  # fmt: skip
    image = row("retom_fixed_16_triton", level="pipeline", architecture="sd15", s_per_im=1.5, speedup=1.25)
    stages = (
        Stage("agree", (test, {**test, "status": "ok"}), seconds=50.0, files=("agree_card.json",)),
        Stage("seconds", (image,), notes=("a note",), seconds=180.0),
        Stage("denoisers", (row("retom_p20_triton"), row("atc", **missing)), error="its 180 s were up", cut=True),
        Stage("sites", (site("none"),), error="its process ended by SIGSEGV"),
        Stage("compiled"),
    )
    return Overview("card", "The Card", stages, 10)


def test_a_stage_is_failed_where_it_or_a_row_of_it_is() -> None:
    stages = {stage.name: stage for stage in overview().stages}
    assert {name for name, stage in stages.items() if stage.failed} == {"agree", "sites"}
    assert stages["agree"].state == "1 ok, 1 failed"
    assert stages["denoisers"].state == "cut off: its 180 s were up; 1 ok, 1 missing"
    assert stages["sites"].state == "failed: its process ended by SIGSEGV; 1 ok"
    assert stages["compiled"].state == "nothing measured"


def test_the_terminal_has_every_row_and_no_wide_line() -> None:
    text = terminal(overview())
    assert max(map(len, text.splitlines())) <= WIDTH
    image = next(line for line in text.splitlines() if "retom_fixed_16_triton" in line)
    assert image.split()[-2:] == ["1500", "0.800"]
    assert "sdxl 1024 px b16 fp16, naive, graphs, R=0.25"[:33] in text
    assert "atc                     missing" in text
    assert "missed       whole denoiser: retom to oracle" in text


def test_the_files_hold_rows_lines_and_stages(tmp_path: Path) -> None:
    paths = write_overview(tmp_path, overview(), PROVENANCE, {})
    assert [path.name for path in paths] == ["gpu_card.csv", "gpu_card.json", "gpu_card.md"]
    lines = list(csv.DictReader(paths[0].read_text(encoding="utf-8").splitlines()))
    assert list(lines[0]) == list(COLUMNS)
    assert [line["stage"] for line in lines] == ["seconds", "denoisers", "denoisers", "sites"]
    assert (lines[0]["seconds"], lines[0]["to_none"], lines[0]["to_oracle"]) == ("1.5", "0.8", "")
    whole = json.loads(paths[1].read_text(encoding="utf-8"))
    assert [line["status"] for line in whole["lines"]] == ["missed", "met", "not measured", "not measured"]
    assert whole["rows"][0]["method"] == "retom_fixed_16_triton"
    page = paths[2].read_text(encoding="utf-8")
    for words in (
        "- agree: tests/a.py::test_b: it is not equal",
        "- seconds: a note",
        "- denoisers: sdxl 1024 px b16 fp16, naive, graphs, R=0.25 atc: not measured: the time was up before its turn",
        "| whole denoiser: retom to oracle | 1.05 | 1.200 | missed | 1 | denoiser sdxl |",
        "| agree | 50 | 1 ok, 1 failed | agree_card.json |",
    ):
        assert words in page


def test_a_card_of_which_nothing_is_known_has_a_page(tmp_path: Path) -> None:
    paths = write_overview(tmp_path, Overview("card", "The Card", (Stage("agree", error="no"),), 1), PROVENANCE, {})
    assert "not measured" in paths[2].read_text(encoding="utf-8")

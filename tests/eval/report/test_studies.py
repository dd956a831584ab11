"""Figure 3 and staleness: kept and read back whole, drawn, put on the page; what is damaged is said there."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eval.errors import RunError
from eval.records import load_records, run_id
from eval.report.figures.sweeps import curves
from eval.report.gather import gather
from eval.report.page import write_report
from eval.report.studies.found import SHOWN, Studies, draw_studies, find_studies
from eval.report.studies.recording import DESTINATION, MERGED, read_recording, scaled_steps, write_recording
from eval.report.studies.similarity import draw_recording, overlay
from eval.report.studies.staleness import over, read_staleness, write_staleness
from tests.eval.report.test_report import OPTIONS, Page
from tests.eval.sample_records import make_config, make_record
from tests.eval.sample_runs import write_run
from tests.eval.sample_specs import TABLE1, make_spec
from tests.eval.sample_studies import make_recording, make_staleness


def page_of(folder: Path, studies: Studies) -> Page:
    gathered = gather([make_spec(TABLE1)], lambda: load_records(folder / "runs"), folder / "runs")
    return Page(write_report(gathered, folder, title="Report", studies=studies).read_text(encoding="utf-8"))


def test_steps_are_scaled_to_those_that_are_run() -> None:
    asked = [0, 300, 600, 900]
    assert scaled_steps(asked, 1000, 1000) == {0: 0, 300: 300, 600: 600, 900: 900}
    assert scaled_steps(asked, 1000, 50) == {0: 0, 15: 300, 30: 600, 45: 900}
    assert scaled_steps(asked, 1000, 2) == {0: 0, 1: 600}
    for wrong in ([], [1000], [-1], [1.5], [True]):
        with pytest.raises(ValueError, match=r"figure3.steps must be at least one whole number in \[0, 999\]"):
            scaled_steps(wrong, 1000, 50)


def test_a_recording_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    made = make_recording()
    found = read_recording(write_recording(made, tmp_path)[1])
    assert np.array_equal(found.image, made.image)
    for field in dataclasses.fields(found):
        if field.name not in ("image", "panels"):
            assert getattr(found, field.name) == getattr(made, field.name)
    for ours, theirs in zip(found.panels, made.panels, strict=True):
        for field in dataclasses.fields(ours):
            assert np.array_equal(getattr(ours, field.name), getattr(theirs, field.name)), field.name
    assert found.calls == [(0, 0), (600, 2)]
    assert found.panels[0].removed == 0.25
    off_diagonal = found.panels[0].similarity[~np.eye(4, dtype=bool)]
    assert found.panels[0].mean == pytest.approx(off_diagonal.mean())


def test_staleness_is_read_back_and_weighted_by_windows(tmp_path: Path) -> None:
    found = read_staleness(write_staleness(make_staleness(), tmp_path)[1])
    assert found.table.equals(make_staleness().table)
    curve = over(found.table, "age", "down")
    assert list(curve.index) == [0, 1, 2]
    assert curve["share"].tolist() == pytest.approx([0.05, 0.15, 0.25])  # 30 windows at 0, 10 at 0.2 next to them
    assert curve["low"].tolist() == pytest.approx([0.0, 0.1, 0.2])
    assert curve["high"].tolist() == pytest.approx([0.2, 0.3, 0.4])


def test_the_map_shows_destinations_and_merged_tokens_over_the_image() -> None:
    panel = dataclasses.replace(make_recording().panels[0], window=(6, 6, 2, 2))
    grey = np.full((64, 64, 3), 128, dtype=np.uint8)
    shown = overlay(grey, panel)
    cell = shown.shape[0] // 8
    middle = shown[cell // 2 :: cell, cell // 2 :: cell].astype(int)  # the middle of every token, [8, 8, 3]
    assert (middle[panel.state == DESTINATION].sum(axis=1) > 3 * 128).all()
    assert (middle[panel.state == MERGED].sum(axis=1) < 3 * 128).all()
    assert (middle[panel.state == 0] == 128).all()


def test_figures_lie_in_the_folder_and_say_their_numbers(tmp_path: Path) -> None:
    heat, maps = draw_recording(make_recording(), tmp_path)
    assert {path.suffix for drawing in (heat, maps) for path in drawing.files} == {".png", ".pdf"}
    with Image.open(heat.files[0]) as opened:
        assert opened.size[0] > 400
    assert heat.uri.startswith("data:image/svg+xml")
    assert maps.uri.startswith("data:image/webp")
    assert "steps 0, 600 of 1000 (calls 0, 2 of 4)" in heat.alt
    assert heat.numbers.headings[2:] == ("step 0", "step 600")
    assert [row[0] for row in heat.numbers.rows] == ["down.0", "mid.0", "up.0"]
    assert maps.numbers.rows[0][2:] == ("25.0%", "25.0%")
    again = draw_recording(make_recording(), tmp_path / "again")[0]
    assert [path.read_bytes() for path in again.files] == [path.read_bytes() for path in heat.files]


def test_the_page_holds_them_with_alternative_text_and_provenance(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", make_record("none"))
    write_recording(make_recording(), tmp_path)
    write_staleness(make_staleness(), tmp_path)
    page = page_of(tmp_path, find_studies(tmp_path, make_config()))
    names = ("figure3_tiny_retom-0123456789ab", "staleness_tiny_0123456789ab")
    for name in names:
        assert f"run-{name}" in page.ids
        assert f"run-{name}" in page.targets
    assert "d" * 40 in page.text
    assert "a <b>bold</b> tench, seed 3" in page.text
    assert any(alt.startswith("Cosine similarity of every pair of tokens") for alt in page.alts)
    assert any("mid 20% at age 2" in alt for alt in page.alts)
    assert "There is no recording" not in page.text


def test_of_another_model_or_sampler_they_are_left_out_and_it_is_said(tmp_path: Path) -> None:
    write_recording(make_recording(), tmp_path)
    config = make_config(model="other")
    found = find_studies(tmp_path, config)
    assert found.recordings == found.measured == ()
    text = page_of(tmp_path, found).text
    assert "There is no recording of Figure 3 of this model and sampler. To make one: python -m scripts.figure3" in text
    assert "1 of another model or sampler left out" in text
    assert "There is no measurement of staleness" in text
    sampler = make_config()["sampler"]
    assert find_studies(tmp_path, make_config() | {"sampler": sampler | {"batch_size": 9}}).recordings
    assert not find_studies(tmp_path, make_config() | {"sampler": sampler | {"steps": 9}}).recordings


def test_the_latest_are_shown(tmp_path: Path) -> None:
    for day in range(SHOWN + 1):
        provenance = make_recording().provenance | {"date": f"2026-11-0{day + 1}"}
        write_recording(make_recording(f"r{day}", provenance=provenance), tmp_path)
    found = find_studies(tmp_path, make_config())
    assert [recording.name for recording in found.recordings] == [f"r{day}" for day in range(SHOWN, 0, -1)]
    assert any(f"latest {SHOWN} of {SHOWN + 1}" in note for note in found.notes)


def _drop(path: Path) -> None:
    path.with_suffix(".npz" if "figure3" in path.name else ".csv").unlink()


def _flip(path: Path) -> None:
    data = path.with_suffix(".npz" if "figure3" in path.name else ".csv")
    data.write_bytes(data.read_bytes()[:-3])


def _change(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


DAMAGE = {
    "no arrays": _drop,
    "other arrays": _flip,
    "no JSON": lambda path: path.write_text("{", encoding="utf-8"),
    "a list": lambda path: path.write_text("[1]", encoding="utf-8"),
    "empty": lambda path: path.write_text("{}", encoding="utf-8"),
    "another version": lambda path: _change(path, version=9),
    "no configuration": lambda path: _change(path, config=None),
    "a number for a name": lambda path: _change(path, name=3),
    "no date": lambda path: _change(path, provenance={}),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("write", [write_recording, write_staleness])
def test_damaged_files_become_a_line_on_the_page(damage, write, tmp_path: Path) -> None:
    made = make_recording() if write is write_recording else make_staleness()
    damage(write(made, tmp_path)[1])
    found = find_studies(tmp_path, make_config())
    assert found.recordings == found.measured == ()
    (problem,) = found.problems
    assert problem.startswith(str(tmp_path))
    assert "make it again: python -m scripts." in problem
    assert "\n" not in problem


@pytest.mark.parametrize("panels", [[], [{}], {"a": 1}, [{"site": "x", "grid": [1, 2]}]])
def test_panels_that_do_not_fit_are_refused(panels, tmp_path: Path) -> None:
    path = write_recording(make_recording(), tmp_path)[1]
    _change(path, panels=panels)
    with pytest.raises(RunError, match="is no recording"):
        read_recording(path)


def test_curves_hold_the_runs_of_other_experiments_under_the_same_protocol(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    write_run(runs, make_record("none"))
    write_run(runs, make_record("retom", **OPTIONS))
    write_run(runs, make_record("retom", experiment="ablate_alpha", **OPTIONS | {"ratio": 0.75}))
    write_run(runs, make_record("retom", experiment="elsewhere", model="other", **OPTIONS | {"ratio": 0.9}))
    write_run(runs, make_record("retom", experiment="broken", status="failed", **OPTIONS | {"ratio": 0.1}), prompts=())
    gathered = gather(
        [make_spec(TABLE1)],
        lambda: load_records(runs, "table1"),
        runs,
        everywhere=lambda: load_records(runs),
    )
    (curve,) = curves(gathered)["ratio"]
    assert curve.values == (0.5, 0.75)
    assert len(gathered.tables[0].lines) == 4
    assert gathered.notes == (
        "Finished runs under another protocol are left out of the curves (in elsewhere). "
        "The report of their own experiment shows them.",
    )
    text = write_report(gathered, tmp_path, title="Report").read_text(encoding="utf-8")
    swept = run_id(make_record("retom", experiment="ablate_alpha", **OPTIONS | {"ratio": 0.75}))
    assert f"run-{swept}" in Page(text).ids
    assert (tmp_path / "figures" / "sweep_ratio.png").is_file()


def test_equal_measurements_are_plotted_once_and_named(tmp_path: Path) -> None:
    same, other = make_recording("same", method="retom_least"), make_recording("other", seed=4)
    studies = Studies((make_recording("first"), same, other), (make_staleness("a"), make_staleness("b")))
    found = draw_studies(studies, tmp_path, {"retom": "ReToM (Ours)", "retom_least": "ReToM, least rep. token"})
    kinds = ("similarity", "maps")
    names = [f"figure3_{name}_{kind}" for name in ("first", "other") for kind in kinds]
    assert [drawing.name for drawing in found] == ["staleness_a", *names]
    assert found[0].alt.endswith("The measurements of b are equal.")
    assert found[1].title.endswith("ReToM (Ours), ReToM, least rep. token")
    assert found[1].alt.endswith("The measurements of same are equal.")
    assert found[3].title.endswith("window, ReToM (Ours)")

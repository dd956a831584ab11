"""The figures: names that do not overlap, hollow marks, fronts, one size of text, and nothing drawn twice."""

import re
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text

from eval.report.figures import draw_all
from eval.report.figures.drawing import ACCENT, COLUMN, PAGE, STYLE, TEXT, panels
from eval.report.figures.labels import Label, place
from eval.report.figures.sheet import Column, sheet
from eval.report.gather import Gathered, gather
from eval.report.studies.similarity import SCALE, draw_recording
from eval.report.studies.staleness import draw_staleness
from eval.tables.claims import OURS
from eval.tables.spec import TableSpec
from tests.eval.sample_records import make_record
from tests.eval.sample_specs import TABLE1
from tests.eval.sample_studies import make_recording, make_staleness

PEERS = ("tomesd", "atc", OURS, "todo", "tofu", "toma", "sito", "ibtm", "ca_tome", "deepcache", "oracle")
NAMES = {name: f"{name.upper()} of a paper" for name in PEERS}


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved, as they were then."""
    found: list[Figure] = []
    save = Figure.savefig

    def saving(figure: Figure, *where: object, **how: object) -> None:
        if figure not in found:
            found.append(figure)
        save(figure, *where, **how)

    monkeypatch.setattr(Figure, "savefig", saving)
    return found


def rows_of(*methods: str, busy: tuple[str, ...] = (), profile: str = "real", spread: float = 1.0) -> Gathered:
    """One row for each method, each at a place of its own."""
    records = []
    for number, method in enumerate(methods):
        record = make_record(method, profile=profile, fid=35 + 3.7 * number % 5, seconds=2.6 - spread * number / 12)
        record["timing"]["quiet"] = method not in busy
        records.append(record)
    table = {"rows": [{"method": method, "model": NAMES.get(method, "Stable Diffusion")} for method in methods]}
    shipped = {method: {"_target_": f"some.package.{method}"} for method in methods}
    spec = TableSpec.from_data({**TABLE1, **table}, methods=shipped, backend="gather", names=NAMES)
    return gather([spec], lambda: records, Path("nowhere"))


def drawn(gathered: Gathered, folder: Path, saved: list[Figure]) -> tuple[Figure, str]:
    """The figure of quality against speed, and its caption."""
    (drawing,) = draw_all(gathered, folder)
    return saved[-1], drawing.alt


def names_in(axis) -> Iterator[Text]:
    return (text for text in axis.texts if text.get_text())


def marks_of(axis) -> list:
    """The mark of each row: the lines that are one point."""
    return [line for line in axis.lines if len(line.get_xdata()) == 1 and line.get_marker() != "None"]


def test_every_row_of_the_first_dozen_is_named_next_to_its_point_without_overlap(saved, tmp_path: Path) -> None:
    figure, _ = drawn(rows_of("none", *PEERS), tmp_path, saved)
    figure.draw_without_rendering()
    for axis in figure.axes[:3]:
        texts = list(names_in(axis))
        assert {text.get_text() for text in texts} == {"Stable Diffusion", *NAMES.values()}
        boxes = [Text.get_window_extent(text) for text in texts]  # without the lines that lead to points
        for index, box in enumerate(boxes):
            assert axis.bbox.x0 <= box.x0 < box.x1 <= axis.bbox.x1
            assert not any(box.overlaps(other) for other in boxes[index + 1 :])


def test_names_without_room_become_numbers_with_a_key(saved, tmp_path: Path) -> None:
    figure, _ = drawn(rows_of("none", *PEERS, *(f"more_{number}" for number in range(8))), tmp_path, saved)
    count = len(PEERS) + 9
    assert {text.get_text() for text in names_in(figure.axes[0])} == {str(number + 1) for number in range(count)}
    key = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "1  Stable Diffusion" in key
    assert f"4  {NAMES[OURS]}" in key


def test_labels_say_when_they_do_not_fit() -> None:
    with matplotlib.rc_context(STYLE):
        figure, (axis,) = panels(1, 2.0)
        axis.plot([0, 1], [0, 1], "o")
        figure.draw_without_rendering()
        assert place(axis, [Label("left", 0, 0, 4), Label("right", 1, 1, 4)])
        assert not place(axis, [Label("a name as wide as two panels " * 4, 0.5, 0.5, 4)])


def test_the_x_axis_is_speed_up_and_seconds_without_a_baseline(saved, tmp_path: Path) -> None:
    figure, alt = drawn(rows_of("none", "tomesd", OURS), tmp_path, saved)
    axis = figure.axes[0]
    assert axis.get_xlabel() == "speed-up over the baseline (x) ↑"
    assert sorted(float(line.get_xdata()[0]) for line in marks_of(axis)) == pytest.approx(
        [1, 2.6 / (2.6 - 1 / 12), 2.6 / (2.6 - 2 / 12)]
    )
    lines = [line for line in axis.lines if line.get_linestyle() == "--"]
    assert {tuple(line.get_xdata()) for line in lines} == {(0, 1), (1, 1)}
    assert "Dashed lines mark the baseline, Stable Diffusion." in alt
    figure, alt = drawn(rows_of("tomesd", OURS), tmp_path / "seconds", saved)
    assert figure.axes[0].get_xlabel() == "time per image (s) ↓"
    assert figure.axes[0].get_xscale() == "log"
    assert "Dashed lines" not in alt


def test_retom_is_larger_than_the_others_in_a_colour_of_its_own_and_on_top(saved, tmp_path: Path) -> None:
    figure, _ = drawn(rows_of("none", *PEERS), tmp_path, saved)
    marks = marks_of(figure.axes[0])
    (ours,) = [mark for mark in marks if to_rgba(mark.get_color()) == to_rgba(ACCENT)]
    others = [mark for mark in marks if mark is not ours]
    assert len(others) == len(PEERS)
    assert ours.get_markersize() > max(mark.get_markersize() for mark in others)
    assert ours.get_zorder() > max(mark.get_zorder() for mark in others)
    assert len({(mark.get_color(), mark.get_marker()) for mark in others}) == len(others)


def hollow(axis) -> list[bool]:
    return [to_rgba(mark.get_markerfacecolor()) == (1, 1, 1, 1) for mark in marks_of(axis)]


def front_of(figure: Figure) -> list[float]:
    lines = [line for line in figure.axes[0].lines if line.get_label() == "Pareto front"]
    return [float(x) for line in lines for x in line.get_xdata()]


def test_rows_of_a_busy_device_are_hollow_and_on_no_front(saved, tmp_path: Path) -> None:
    rows = ("none", "tomesd", "atc", OURS)
    figure, alt = drawn(rows_of(*rows), tmp_path, saved)
    places = {method: 2.6 / (2.6 - number / 12) for number, method in enumerate(rows)}
    assert not any(hollow(figure.axes[0]))
    assert max(front_of(figure)) == pytest.approx(places[OURS])
    figure, alt = drawn(rows_of(*rows, busy=(OURS,)), tmp_path / "busy", saved)
    assert hollow(figure.axes[0]) == [False, False, False, True]
    assert front_of(figure)
    assert places[OURS] not in [pytest.approx(x) for x in front_of(figure)]
    assert f"Hollow points were timed on a busy device and are not on the front: {NAMES[OURS]}." in alt
    # A speed-up over a baseline of a busy device is as uncertain as the baseline.
    figure, alt = drawn(rows_of(*rows, busy=("none",)), tmp_path / "baseline", saved)
    assert all(hollow(figure.axes[0]))
    assert front_of(figure) == []
    assert "No Pareto front is shown: every row was timed on a busy device." in alt


def test_free_merging_is_on_no_front(saved, tmp_path: Path) -> None:
    figure, alt = drawn(rows_of("none", "tomesd", OURS, "oracle"), tmp_path, saved)
    assert " is a bound on speed and is not on the front." in alt
    fastest = 2.6 / (2.6 - 3 / 12)
    assert fastest not in [pytest.approx(x) for x in front_of(figure)]
    assert max(front_of(figure)) == pytest.approx(2.6 / (2.6 - 2 / 12))


def test_the_smoke_run_has_no_front(saved, tmp_path: Path) -> None:
    figure, alt = drawn(rows_of("none", "tomesd", OURS, profile="smoke"), tmp_path, saved)
    assert front_of(figure) == []
    assert "No Pareto front is shown: the metrics of the smoke profile do not rank methods." in alt
    assert figure.axes[0].get_ylabel() == "FID, smoke ↓"


def test_every_text_is_eight_points_at_the_width_of_a_column_or_page(saved, tmp_path: Path) -> None:
    draw_all(rows_of("none", *PEERS), tmp_path)
    draw_recording(make_recording(), tmp_path)
    draw_staleness(make_staleness(), tmp_path)
    assert len(saved) == 4
    for figure in saved:
        assert figure.get_size_inches()[0] in (COLUMN, PAGE)
        assert {text.get_fontsize() for text in figure.findobj(Text) if text.get_text()} == {TEXT}
    for path in tmp_path.glob("*.pdf"):
        content = path.read_bytes()
        (box,) = set(re.findall(rb"/MediaBox \[ ?0 0 ([\d.]+)", content))
        assert float(box) / 72 == pytest.approx(COLUMN) or float(box) / 72 == pytest.approx(PAGE)
        assert b"/FontFile2" in content  # TrueType, embedded
        assert b"/Type3" not in content


def test_the_similarity_has_one_scale_its_mean_and_no_diagonal(saved, tmp_path: Path) -> None:
    recording = make_recording()
    draw_recording(recording, tmp_path)
    axes = [axis for axis in saved[0].axes if axis.images]
    assert len(axes) == 3  # three layers; both steps are equal
    for axis, panel in zip(axes, recording.panels[::2], strict=True):
        (image,) = axis.images
        assert (image.norm.vmin, image.norm.vmax) == (SCALE.vmin, SCALE.vmax) == (-1, 1)
        assert np.array_equal(image.get_array().mask, np.eye(len(panel.similarity), dtype=bool))
        assert round(panel.mean, 2) == float(axis.texts[-1].get_text().replace("\N{MINUS SIGN}", "-"))


def test_steps_with_equal_maps_are_plotted_once_and_named(saved, tmp_path: Path) -> None:
    recording = make_recording()
    similarity, maps = draw_recording(recording, tmp_path)
    for figure, drawing in zip(saved, (similarity, maps), strict=True):
        assert figure.axes[0].get_ylabel().split() == ["steps", "0,", "600"]
        assert "steps 0, 600 are equal and shown once" in drawing.alt
    recording.panels[1].similarity[0, 1] = 0.5
    similarity, maps = draw_recording(recording, tmp_path / "other")
    assert "shown once" not in similarity.alt
    assert len([axis for axis in saved[2].axes if axis.images]) == 6
    assert "shown once" in maps.alt


def test_staleness_over_age_and_over_steps_is_plotted_once_where_they_are_equal(saved, tmp_path: Path) -> None:
    alt = draw_staleness(make_staleness(), tmp_path).alt
    assert [axis.get_xlabel() for axis in saved[0].axes] == ["age of the plan (steps)", "step"]
    assert "the plan's age and over the step" in alt
    table = make_staleness().table
    whole = make_staleness(table=table[table["step"] < 3])
    alt = draw_staleness(whole, tmp_path).alt
    assert [axis.get_xlabel() for axis in saved[1].axes] == ["age of the plan (steps)"]
    assert "the plan's age, which equals the step" in alt


def test_a_sheet_has_four_methods_across_and_no_letter_of_another_size() -> None:
    image = np.zeros((8, 8, 3), dtype=np.uint8)
    columns = [Column(f"method {number}", ("ratio 0.5",), (image, image), ("", "SSIM 0.9")) for number in range(6)]
    with matplotlib.rc_context(STYLE):
        figure = sheet(columns, [3, 4], "a prompt")
    assert figure.get_size_inches()[0] == PAGE
    assert len([axis for axis in figure.axes if axis.images]) == 12
    assert [axis.get_title().splitlines()[0] for axis in figure.axes if axis.get_title()] == [
        f"method {number}" for number in range(6)
    ]
    assert {text.get_fontsize() for text in figure.findobj(Text) if text.get_text()} == {TEXT}

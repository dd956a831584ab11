"""Letters that the default font lacks: other fonts, or code points and one line; never a box or matplotlib's warnings.

The tests run with `-W error`: a glyph that matplotlib misses fails them.
"""

import logging
from pathlib import Path

import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure
from PIL import Image

from eval.report.figures import letters
from eval.report.figures.drawing import legend, plain, raster_uri, save, svg_uri
from eval.report.figures.letters import covering, fit_letters
from eval.report.figures.sheet import Column, write_sheet
from eval.trackers.curves import Curve
from eval.trackers.tensorboard import plotted

SANS = ("sans-serif",)
NOWHERE = "\U00020000"  # a rare Chinese character
MATHS = "\U0001d49c"  # a script A, in a mathematical font of matplotlib's and not in DejaVu Sans


@pytest.fixture(autouse=True)
def _anew() -> None:
    letters._report.cache_clear()


@pytest.fixture
def only_matplotlibs_fonts(monkeypatch: pytest.MonkeyPatch):
    """As on a machine without other fonts."""
    own = [face for face in font_manager.fontManager.ttflist if "mpl-data" in face.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    letters._installed.cache_clear()
    yield
    letters._installed.cache_clear()


def figure_of(text: str) -> Figure:
    figure = Figure(figsize=(3, 2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], label=plain(text))
    axes.set_title(plain(text))
    legend(figure, [axes])
    return figure


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("text", ["a goldfish", "für Ångström, Київ, Ελλάδα", "two\nlines", "a $5 bill", "café"])
def test_letters_that_the_font_has_stay_as_they_are(text: str, caplog) -> None:
    figure = figure_of(text)
    before = figure.axes[0].get_title()
    with caplog.at_level(logging.WARNING):
        fit_letters(figure)
        svg_uri(figure)
    assert figure.axes[0].get_title() == before
    assert warnings(caplog) == []


def test_another_installed_font_is_used(only_matplotlibs_fonts, caplog, tmp_path: Path) -> None:
    families, absent = covering(f"a {MATHS}", SANS)
    assert absent == ()
    assert families[0] == "sans-serif"
    assert len(families) == 2
    with caplog.at_level(logging.WARNING):
        save(figure_of(f"a {MATHS}"), "maths", tmp_path)
    assert warnings(caplog) == []
    shown, blank = (np.asarray(Image.open(save(figure_of(text), "x", tmp_path)[0])) for text in (MATHS, " "))
    assert (shown != blank).any()


def test_what_no_font_has_is_a_code_point_and_one_line(only_matplotlibs_fonts, caplog, tmp_path: Path) -> None:
    figure = figure_of(f"日本 {NOWHERE}")
    with caplog.at_level(logging.WARNING):
        save(figure, "letters", tmp_path)
        svg_uri(figure)
        raster_uri(figure_of(f"日本 {NOWHERE}"), 50)
    assert figure.axes[0].get_title() == "<U+65E5><U+672C> <U+20000>"
    assert figure.legends[0].get_texts()[0].get_text() == "<U+65E5><U+672C> <U+20000>"
    (line,) = warnings(caplog)
    assert line.startswith(f"The installed fonts lack '日' (U+65E5), '本' (U+672C), '{NOWHERE}' (U+20000), so figures")
    assert "install a font that has them, such as Noto" in line


def test_a_sheet_and_a_trackers_curve_do_the_same(only_matplotlibs_fonts, caplog, tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    with caplog.at_level(logging.WARNING):
        path = write_sheet([Column("方法", ("ratio",), (pixels,), ("",))], [0], "日本", tmp_path / "sheet.png")
        plotted(Curve("曲線", "x", "y", ((0.0, 1.0), (1.0, 2.0))))
    assert path.is_file()
    assert [line.partition(",")[0] for line in warnings(caplog)] == [
        "The installed fonts lack '方' (U+65B9)",
        "The installed fonts lack '曲' (U+66F2)",
    ]


@pytest.mark.parametrize("text", ["tab\there", "bell\a", "escape\x1b[31m"])
def test_control_characters_are_code_points(text: str, caplog) -> None:
    (letter,) = {letter for letter in text if not letter.isprintable()}
    figure = figure_of(text)
    with caplog.at_level(logging.WARNING):
        svg_uri(figure)
    assert f"<U+{ord(letter):04X}>" in figure.axes[0].get_title()
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize("shaped", [True, False])
def test_right_to_left_is_shown_where_it_is_shown_right(shaped: bool, monkeypatch) -> None:
    monkeypatch.setattr(letters, "_SHAPED", shaped)
    assert covering("שלום", SANS)[1] == (() if shaped else tuple("שלום"))


def test_boxes_for_everything_and_tex_symbols_are_no_letters() -> None:
    names = {name for name, _ in letters._installed()}
    assert "DejaVu Sans" in names
    assert not [name for name in names if name.startswith(("Last Resort", "cmr", "cmsy", "STIXSize"))]


def test_a_font_that_is_gone_is_passed_over(tmp_path: Path) -> None:
    assert letters._letters_of(str(tmp_path / "gone.ttf")) == frozenset()
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    assert letters._letters_of(str(tmp_path / "broken.ttf")) == frozenset()

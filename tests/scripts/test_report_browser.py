"""The page of a real smoke run in a real browser: headless Chromium through selenium, from file://, no network."""

import csv
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import browser, every, loaded, need_browser, one, seen
from tests.scripts.conftest import SMALLEST

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
TIMING = ("timing=smoke", "timing.warmup=0", "timing.images=1")


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """Both tables of three real rows on the tiny model, their claims, Figure 3 and staleness, and the report of it."""
    need_browser()
    results = tmp_path_factory.mktemp("report")
    choices = ["experiment=smoke", *SMALLEST, *TIMING, f"results={results}"]
    rows = ["--multirun", "method=none,tomesd,retom"]
    inside = [("figure3", [], {0}), ("staleness", [], {0})]
    made = (("run", rows, {0}), ("tables", [], {1}), ("claims", [], {0, 1}), *inside, ("report", [], {0}))
    for module, extra, statuses in made:
        command = [sys.executable, "-m", f"scripts.{module}", *extra, *choices]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode in statuses, done.stderr
    return results / "smoke"


@pytest.fixture(scope="module")
def driver(results: Path) -> Iterator:
    with browser() as driver:
        yield driver


@pytest.fixture
def page(driver, results: Path):
    with loaded(driver, results / "report.html") as page:
        yield page


def move(page, element, value: str) -> None:
    page.execute_script(
        "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))",
        element,
        value,
    )


def open_export(page, name: str) -> None:
    one(page, f'[data-table="{name}"] .choose summary').click()


def column(page, index: int) -> list[str]:
    cells = every(page, f'[data-table="table1"] tbody tr > :nth-child({index}) .value')
    # A dagger marks seconds that were taken while the machine had other work, as it has in a test.
    return [cell.text.removesuffix("†") for cell in cells if cell.is_displayed()]


def test_all_images_load(page) -> None:
    loaded = page.execute_script("return [...document.images].filter(i => !i.hidden).map(i => i.naturalWidth)")
    assert len(loaded) >= 3 * 2 + 2 + 4
    assert all(loaded)


def test_tables_sort_by_a_press_of_enter(page) -> None:
    from selenium.webdriver.common.keys import Keys

    heading = '[data-table="table1"] .headings th:nth-child(6)'
    button = one(page, f"{heading} button")
    assert button.text == "s/im ↓"
    for direction, descending in (("ascending", False), ("descending", True)):
        button.send_keys(Keys.ENTER)
        assert one(page, heading).get_attribute("aria-sort") == direction
        shown = column(page, 6)
        numbers = [float(text) for text in shown if text != "missing"]
        assert len(numbers) == 3
        assert numbers == sorted(numbers, reverse=descending)
        assert shown[3:] == ["missing"] * (len(shown) - 3)


def test_the_filter_hides_other_rows(page) -> None:
    open_export(page, "table1")
    one(page, '[data-table="table1"] .filter').send_keys("tomesd")
    assert column(page, 1) == ["ToMeSD"]
    assert one(page, '[data-table="table1"] .said').text == "1 of 8 rows shown."


@pytest.mark.parametrize("name", ["table1", "table2"])
def test_the_export_gives_the_numbers_of_the_csv(name: str, page, results: Path) -> None:
    open_export(page, name)
    one(page, f'[data-table="{name}"] [data-copy="CSV"]').click()
    exported = one(page, f'[data-table="{name}"] textarea').get_property("value")
    assert exported == (results / f"{name}.csv").read_text(encoding="utf-8")


def test_the_export_is_of_the_rows_shown_in_their_order(page) -> None:
    section = '[data-table="table1"] '
    open_export(page, "table1")
    one(page, section + ".filter").send_keys("retom (ours)")
    texts = {}
    for kind in ("CSV", "Markdown", "LaTeX"):
        one(page, section + f'[data-copy="{kind}"]').click()
        texts[kind] = one(page, section + "textarea").get_property("value")
    (row,) = csv.DictReader(io.StringIO(texts["CSV"]))
    seconds = f"{float(row['s_per_im']):.2f}"
    assert len(texts["Markdown"].splitlines()) == 3
    assert seconds in texts["Markdown"].splitlines()[-1]
    assert seconds in texts["LaTeX"].splitlines()[-3]
    assert "| Difference to baseline: clip_smoke ↑ |" in texts["Markdown"]
    assert r"clip\_smoke" in texts["LaTeX"]


def test_the_slider_moves_the_boundary(page) -> None:
    from selenium.webdriver.common.keys import Keys

    one(page, ".boundary").send_keys(Keys.HOME)
    assert "100%" in one(page, ".over").value_of_css_property("clip-path")
    move(page, one(page, ".boundary"), "30")
    assert "70%" in one(page, ".over").value_of_css_property("clip-path")


def test_the_baseline_and_retom_come_first_and_are_compared_first(page) -> None:
    names = [each.text for each in every(page, ".grid thead a")]
    assert names == ["Stable Diffusion", "ReToM (Ours)", "ToMeSD"]
    assert one(page, ".compare .said").text.startswith("Stable Diffusion on the left, ReToM (Ours) on the right")


def test_an_image_is_compared_with_the_baseline_and_subtracted(page) -> None:
    every(page, ".image[data-row='1']")[2].click()
    assert one(page, ".which").get_property("value") == "1"
    assert one(page, ".compare .said").text.startswith("Stable Diffusion on the left, ToMeSD on the right")
    images = [image.get_property("src") for image in every(page, ".image[data-row='1'] img")]
    for stage in (".wipe", ".subtract"):
        sources = [one(page, f"{stage} .{name}").get_property("src") for name in ("over", "under")]
        assert sources == [images[0], images[2]]
    assert one(page, ".subtract .over").value_of_css_property("mix-blend-mode") == "difference"
    assert one(page, ".wipe .over").value_of_css_property("mix-blend-mode") == "normal"
    move(page, one(page, ".gain"), "9")
    assert one(page, ".gain-value").text == "9\N{MULTIPLICATION SIGN}"
    assert one(page, ".subtract").value_of_css_property("filter") == "brightness(9)"


def test_small_images_keep_their_pixels(page) -> None:
    assert one(page, ".wipe .over").value_of_css_property("image-rendering") == "pixelated"
    assert one(page, ".wipe").rect["width"] > 450


def test_the_claims_are_those_of_the_runs(page) -> None:
    counts = [int(each.text.split()[1]) for each in every(page, ".counts .chip")]
    assert sum(counts) == len(every(page, ".verdicts li")) == 12
    assert "make smoke" in one(page, ".next").text  # six rows are missing


def test_a_number_opens_its_run(page) -> None:
    link = one(page, '[data-table="table1"] tbody a')
    link.click()
    target = page.execute_script("return document.getElementById(decodeURIComponent(location.hash.slice(1)))")
    assert target.is_displayed()
    assert "attention" in target.text


INSIDE = {"similarity": "Cosine similarity", "maps": "Windows, destinations", "staleness": "Share of windows"}


def figure(page, begins: str):
    pictures = [image for image in every(page, "figure img") if image.get_attribute("alt").startswith(begins)]
    assert len(pictures) == 1
    return pictures[0].find_element("xpath", "./ancestor::figure")


@pytest.mark.parametrize("begins", INSIDE.values(), ids=INSIDE)
def test_figure_3_and_staleness_say_their_numbers_and_where_they_come_from(begins: str, page) -> None:
    from selenium.webdriver.common.keys import Keys

    shown = figure(page, begins)
    picture, summary, table = (shown.find_element("css selector", name) for name in ("img", "summary", "table"))
    assert page.execute_script("return arguments[0].naturalWidth", picture) > 300
    assert not table.is_displayed()
    summary.send_keys(Keys.ENTER)
    assert table.is_displayed()
    assert any(character.isdigit() for character in table.find_element("css selector", "td").text)
    shown.find_element("link text", "Provenance of these numbers").click()
    target = page.execute_script("return document.getElementById(decodeURIComponent(location.hash.slice(1)))")
    assert target.is_displayed()
    assert "commit" in target.text


def test_figures_are_printed_within_the_paper(page) -> None:
    with seen(page, 750, 1000, media="print"):
        figures = every(page, "img.drawing")
        assert len(figures) >= 4
        assert all(0 < image.rect["width"] <= 750 for image in figures)
        assert not one(page, "nav").is_displayed()


def test_figures_are_dark_on_light_in_either_scheme(page) -> None:
    for scheme in ("light", "dark"):
        with seen(page, 1400, scheme=scheme):
            backs = [image.value_of_css_property("background-color") for image in every(page, "img.drawing")]
            assert len(backs) >= 4
            assert all("255, 255, 255" in back for back in backs)

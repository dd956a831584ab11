"""The page of a real smoke run in a real browser: headless Chromium through selenium, from file://, no network."""

import csv
import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scripts.conftest import SMALLEST

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1400,1000",
)
TIMING = ("timing=smoke", "timing.warmup=0", "timing.images=1")


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """Both tables of three real rows on the tiny model, Figure 3 and staleness, and the report of all that."""
    if not BROWSER or not DRIVER:
        pytest.skip("needs chromium and chromedriver on the PATH (Debian: chromium, chromium-driver)")
    results = tmp_path_factory.mktemp("report")
    choices = ["experiment=smoke", *SMALLEST, *TIMING, f"results={results}"]
    rows = ["--multirun", "method=none,tomesd,retom"]
    inside = [("figure3", [], 0), ("staleness", [], 0)]
    for module, extra, status in (("run", rows, 0), ("tables", [], 1), *inside, ("report", [], 0)):
        command = [sys.executable, "-m", f"scripts.{module}", *extra, *choices]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == status, done.stderr
    return results / "smoke"


@pytest.fixture(scope="module")
def driver(results: Path) -> Iterator:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options, Service(DRIVER))
        try:
            yield driver
        finally:
            driver.quit()


@pytest.fixture
def page(driver, results: Path):
    """The page, loaded anew; afterwards its console must hold nothing."""
    driver.get("about:blank")
    driver.get((results / "report.html").as_uri())
    yield driver
    assert driver.get_log("browser") == []


def one(page, selector: str):
    return page.find_element("css selector", selector)


def every(page, selector: str) -> list:
    return page.find_elements("css selector", selector)


def move(page, element, value: str) -> None:
    page.execute_script(
        "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))",
        element,
        value,
    )


def column(page, index: int) -> list[str]:
    cells = every(page, f'[data-table="table1"] tbody tr > :nth-child({index})')
    # A dagger marks seconds that were taken while the machine had other work, as it has in a test.
    return [cell.text.split("\n")[0].removesuffix("†") for cell in cells if cell.is_displayed()]


def test_all_images_load(page) -> None:
    loaded = page.execute_script("return [...document.images].filter(i => !i.hidden).map(i => i.naturalWidth)")
    assert len(loaded) >= 3 * 2 + 2 + 4
    assert all(loaded)


def test_tables_sort_by_a_press_of_enter(page) -> None:
    from selenium.webdriver.common.keys import Keys

    button = one(page, '[data-table="table1"] thead th:nth-child(6) button')
    assert button.text == "s/im"
    for direction, descending in (("ascending", False), ("descending", True)):
        button.send_keys(Keys.ENTER)
        assert one(page, '[data-table="table1"] thead th:nth-child(6)').get_attribute("aria-sort") == direction
        shown = column(page, 6)
        numbers = [float(text) for text in shown if text != "missing"]
        assert len(numbers) == 3
        assert numbers == sorted(numbers, reverse=descending)
        assert shown[3:] == ["missing"] * (len(shown) - 3)


def test_the_filter_hides_other_rows(page) -> None:
    one(page, '[data-table="table1"] .filter').send_keys("tomesd")
    assert column(page, 1) == ["ToMeSD"]
    assert one(page, '[data-table="table1"] .said').text == "1 of 8 rows shown."


@pytest.mark.parametrize("name", ["table1", "table2"])
def test_the_export_gives_the_numbers_of_the_csv(name: str, page, results: Path) -> None:
    one(page, f'[data-table="{name}"] [data-copy="CSV"]').click()
    exported = one(page, f'[data-table="{name}"] textarea').get_property("value")
    assert exported == (results / f"{name}.csv").read_text(encoding="utf-8")


def test_the_export_is_of_the_rows_shown_in_their_order(page) -> None:
    section = '[data-table="table1"] '
    one(page, section + ".filter").send_keys("retom (ours)")
    texts = {}
    for kind in ("CSV", "Markdown", "LaTeX"):
        one(page, section + f'[data-copy="{kind}"]').click()
        texts[kind] = one(page, section + "textarea").get_property("value")
    (row,) = csv.DictReader(io.StringIO(texts["CSV"]))
    seconds = f"{float(row['s_per_im']):.2f}"
    assert len(texts["Markdown"].splitlines()) == 3
    assert f"| {seconds}" in texts["Markdown"]
    assert f"& {seconds}" in texts["LaTeX"]
    assert r"clip\_smoke" in texts["LaTeX"]


def test_the_slider_moves_the_boundary(page) -> None:
    from selenium.webdriver.common.keys import Keys

    one(page, ".boundary").send_keys(Keys.HOME)
    assert "100%" in one(page, ".over").value_of_css_property("clip-path")
    move(page, one(page, ".boundary"), "30")
    assert "70%" in one(page, ".over").value_of_css_property("clip-path")


def test_a_picture_is_put_beside_the_unmerged_one_and_subtracted(page) -> None:
    every(page, ".picture[data-row='1']")[1].click()
    assert one(page, ".which").get_property("value") == "1"
    assert one(page, ".compare .said").text == "none on the left, tomesd on the right."
    sources = [one(page, f".stage .{name}").get_property("src") for name in ("over", "under")]
    assert sources == [image.get_property("src") for image in every(page, ".picture[data-row='1'] img")[:2]]
    one(page, ".difference").click()
    assert one(page, ".over").value_of_css_property("mix-blend-mode") == "difference"
    move(page, one(page, ".gain"), "9")
    assert one(page, ".stage").value_of_css_property("filter") == "brightness(9)"
    assert not one(page, ".boundary").is_enabled()


def test_a_number_opens_its_run(page) -> None:
    link = one(page, '[data-table="table1"] tbody a')
    link.click()
    target = page.execute_script("return document.getElementById(decodeURIComponent(location.hash.slice(1)))")
    assert target.is_displayed()
    assert "attention" in target.text


INSIDE = {"similarity": "Cosine similarity", "maps": "Over the finished picture", "staleness": "Share of windows"}


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
    shown.find_element("link text", "Where these numbers come from").click()
    target = page.execute_script("return document.getElementById(decodeURIComponent(location.hash.slice(1)))")
    assert target.is_displayed()
    assert "commit" in target.text


def test_figures_are_printed_within_the_paper(page) -> None:
    size = {"width": 750, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        drawn = every(page, "img.drawing")
        assert len(drawn) == 4
        assert all(0 < image.rect["width"] <= 750 for image in drawn)
        assert not one(page, "nav").is_displayed()
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_light_and_dark_have_contrast(scheme: str, dark: bool, page) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    colours = [one(page, "body").value_of_css_property(name) for name in ("background-color", "color")]
    back, text = (sum(int(part) for part in colour[5:].strip(")").split(",")[:3]) for colour in colours)
    assert (back < text) == dark
    assert abs(back - text) > 450
    # Figures are dark on light in either scheme.
    backs = [image.value_of_css_property("background-color") for image in every(page, "img.drawing")]
    assert all("255, 255, 255" in back for back in backs)

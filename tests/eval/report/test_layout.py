"""The page as a reader sees it: a phone, a tablet, a screen, light and dark, on paper and with a keyboard alone."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from eval.judging.verdicts import judge
from eval.records import load_records, run_id
from eval.report.claims import read_claims
from eval.report.gather import gather
from eval.report.page import write_report
from tests.browser import browser, every, loaded, need_browser, one, seen
from tests.eval.sample_claims import shipped_claims
from tests.eval.sample_records import make_metric, make_record, make_timing
from tests.eval.sample_runs import write_run
from tests.eval.sample_specs import TABLE1, TABLE2, make_spec

pytestmark = pytest.mark.browser

OPTIONS = {"ratio": 0.5, "window": {"down": 2, "mid": 8}}
TABLE = '[data-table="table1"] '
PAPER = 1039  # CSS pixels of A4 landscape between its margins
# Text whose contrast with what is behind it is under 4.5 (3 of large text), as WCAG 2.2 counts it.
CONTRAST = r"""
const number = (text) => text.match(/[\d.]+/g).map(Number);
const over = ([r, g, b, a = 1], below) => [r, g, b].map((c, i) => a * c + (1 - a) * below[i]);
const light = (rgb) => rgb.map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
  .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  const words = walker.currentNode.data.trim();
  if (!words || !element.checkVisibility() || element.closest("script, style, option")) continue;
  const layers = [];
  for (let each = element; each; each = each.parentElement) {
    layers.unshift(number(getComputedStyle(each).backgroundColor));
  }
  const back = layers.reduce((below, layer) => over(layer, below), [255, 255, 255]);
  const style = getComputedStyle(element);
  const [a, b] = [light(over(number(style.color), back)), light(back)].sort((x, y) => y - x);
  const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < (large ? 3 : 4.5)) found.push([words, ratio]);
}
return found;
"""
# Elements that reach over the right edge, but for those that scroll in a box of their own.
OVERHANGING = """
const edge = arguments[0], boxes = arguments[1];
const shown = [...document.querySelectorAll("body *")].filter((element) => element.checkVisibility());
return shown.filter((element) => !element.closest(".hidden, .skip") && !(boxes && element.closest(".scroll, pre")))
  .filter((element) => element.getBoundingClientRect().right > edge + 1)
  .map((element) => `${element.tagName} ${element.className} ${element.textContent.trim().slice(0, 40)}`);
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """A page of every state: complete, invalid, failed and missing rows, a busy device, a failed gate, claims."""
    need_browser()
    folder = tmp_path_factory.mktemp("layout")
    runs = folder / "runs"
    records = [make_record("none", fid=37.5, seconds=2.6), make_record("tomesd", fid=38.25, seconds=2.0)]
    records += [make_record("retom", fid=35.0, seconds=2.08, **OPTIONS), make_record("atc", status="failed")]
    records += [make_record("retom_least", invalid=20)]
    records[1]["timing"] = make_timing(2.0, others=0.5)
    records[1]["metrics"]["clip"] = make_metric(None)
    records[2]["metrics"]["fid"]["infinite"] = -1.5
    for place in range(4):
        records.append(make_record("retom", **OPTIONS | {"ratio": (1 + place) / 10, "note": "a long option " * place}))
    for noise, record in enumerate(records):
        write_run(runs, record, noise=noise / 20, side=64)
    return _write(runs)


def _write(runs: Path) -> Path:
    specs = [make_spec(TABLE1), make_spec(TABLE2)]
    found = gather(specs, lambda: load_records(runs), runs)
    rows = {entry.line.record["method"]: entry.line.record for entry in reversed(found.entries) if entry.run}
    rows = {method: record for method, record in rows.items() if record["status"] != "failed"}

    def compare(method: str, against: str) -> dict:
        differences = {name: metric["differences"] for name, metric in rows[method]["metrics"].items()}
        return {name: each[against] for name, each in differences.items() if against in each}

    claims = {
        "claims": judge(shipped_claims(), specs, rows, (), "real", compare),
        "runs": {key: run_id(rows[key]) for key in rows},
    }
    (runs.parent / "claims.json").write_text(json.dumps(claims))
    claims = read_claims(runs.parent / "claims.json", shipped_claims(), found)
    return write_report(found, runs.parent, title="Report", claims=claims, choice="experiment=mine")


@pytest.fixture(scope="module")
def driver(report: Path) -> Iterator:
    with browser() as driver:
        yield driver


@pytest.fixture
def page(driver, report: Path):
    with loaded(driver, report) as page:
        yield page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 834, 1400])
def test_nothing_is_wider_than_the_window_and_all_text_has_contrast(width: int, scheme: str, page) -> None:
    with seen(page, width, scheme=scheme):
        page.execute_script("document.querySelectorAll('details').forEach((details) => (details.open = true))")
        inner, outer = page.execute_script("const e = document.documentElement; return [e.scrollWidth, e.clientWidth]")
        assert inner <= outer <= width
        assert page.execute_script(OVERHANGING, outer, True) == []
        assert page.execute_script(CONTRAST) == []


def test_contrast_and_width_can_fail(page) -> None:
    page.execute_script("document.querySelector('.lead').style.color = '#aaaaaa'")
    assert len(page.execute_script(CONTRAST)) == 1
    page.execute_script("document.querySelector('.lead').style.width = '3000px'")
    assert len(page.execute_script(OVERHANGING, 1400, True)) == 1


def test_the_first_screen_has_the_result_its_interval_the_claims_and_the_next_command(page) -> None:
    with seen(page, 1400):
        for selector in (".lead", ".facts", ".next code", ".counts", ".verdicts li:last-child"):
            element = page.execute_script(f"return document.querySelector('{selector}').getBoundingClientRect().bottom")
            # A page with failed rows says so above the claims.
            problems = page.execute_script("return document.querySelector('.problems').offsetHeight")
            assert 0 < element < 900 + problems, selector
        assert "-2.50 [-3.00, -2.00]" in one(page, ".facts").text.replace("\N{MINUS SIGN}", "-")


def test_the_standard_columns_fit_a_screen_and_scroll_in_their_box_on_a_phone(page) -> None:
    box = one(page, TABLE + ".scroll")
    sizes = "return [arguments[0].scrollWidth, arguments[0].clientWidth]"
    with seen(page, 1400):
        inner, outer = page.execute_script(sizes, box)
        assert inner <= outer
    with seen(page, 390):
        inner, outer = page.execute_script(sizes, box)
        assert inner > outer
        assert one(page, TABLE + ".hint").is_displayed()
        page.execute_script("arguments[0].scrollLeft = 400", box)
        first = page.execute_script(
            "return document.querySelector(arguments[0]).getBoundingClientRect().left", TABLE + "tbody th"
        )
        assert first == page.execute_script("return arguments[0].getBoundingClientRect().left", box)


def test_fingers_find_every_control_of_a_phone(page) -> None:
    with seen(page, 390):
        page.execute_script("document.querySelectorAll('.choose').forEach((details) => (details.open = true))")
        controls = "nav a, summary, select, .switch, .choose button, .choose fieldset label, .slide, .image"
        heights = [each.rect["height"] for each in every(page, controls) if each.is_displayed()]
        assert len(heights) > 30
        assert min(heights) >= 44


def test_one_switch_shows_all_columns_and_hides_them_again(page) -> None:
    def headings() -> list[str]:
        return [each.text for each in every(page, TABLE + ".headings th") if each.is_displayed()]

    standard = headings()
    assert standard[3:8] == ["FID ↓", "CLIP ↑", "s/im ↓", "Speed-up ↑", "Tokens kept"]
    one(page, TABLE + ".every").click()
    assert len(headings()) > len(standard) + 5
    assert headings()[-1] == "Run"
    one(page, TABLE + ".every").click()
    assert headings() == standard


def test_latex_holds_the_columns_chosen_under_their_groups(page) -> None:
    one(page, TABLE + ".choose summary").click()
    one(page, TABLE + "[data-copy=LaTeX]").click()
    text = one(page, TABLE + "textarea").get_property("value")
    lines = text.splitlines()
    assert lines[1] == r"\begin{tabular}{lllrrrrrrrrrr}"
    assert [lines[2], lines[6], lines[-2]] == [r"\toprule", r"\midrule", r"\bottomrule"]
    assert lines[3] == (
        r"\multicolumn{3}{c}{} & \multicolumn{3}{c}{Ours} & \multicolumn{2}{c}{Cost} & \multicolumn{3}{c}{Paper} & "
        r"\multicolumn{2}{c}{Difference to baseline} \\"
    )
    assert lines[4] == r"\cmidrule(lr){4-6} \cmidrule(lr){7-8} \cmidrule(lr){9-11} \cmidrule(lr){12-13}"
    assert r"FID $\downarrow$ & CLIP $\uparrow$" in lines[5]
    assert {line.count(" & ") for line in lines[5:-2] if line.endswith(r"\\")} == {12}
    assert r"\textbf{35.00} {\scriptsize [34.00, 36.25]}" in text
    assert r"$-$2.50$^{*}$" in text
    one(page, TABLE + ".intervals").click()
    for box in every(page, TABLE + ".column")[1:4]:
        box.click()
    one(page, TABLE + "[data-copy=LaTeX]").click()
    lines = one(page, TABLE + "textarea").get_property("value").splitlines()
    assert lines[1] == r"\begin{tabular}{lrrrrrrrrr}"
    assert lines[4] == r"\cmidrule(lr){2-3} \cmidrule(lr){4-5} \cmidrule(lr){6-8} \cmidrule(lr){9-10}"
    assert "scriptsize" not in "".join(lines)


def test_gates_are_ticks_and_a_failed_one_is_open_and_loud(page) -> None:
    gates = one(page, TABLE + ".gates")
    assert gates.get_attribute("open") is not None
    assert "no row of this table may be quoted" in gates.text
    assert "✗" in one(page, TABLE + ".gates .gate.failed").text
    assert "more than 1% of the images" in gates.text
    one(page, TABLE + ".gates summary").click()
    assert "more than 1% of the images" not in gates.text


def test_the_keyboard_reaches_and_works_everything(page) -> None:
    from selenium.webdriver.common.keys import Keys

    def focused():
        return page.switch_to.active_element

    page.execute_script("window.scrollTo(0, 0)")
    one(page, "body").send_keys(Keys.TAB)
    assert focused().get_attribute("class") == "skip"
    wanted = {"every": Keys.SPACE, "image": Keys.ENTER, "gain": Keys.ARROW_RIGHT, "boundary": Keys.ARROW_LEFT}
    reached = set()
    for _ in range(400):
        focused().send_keys(Keys.TAB)
        element = focused()
        if element.tag_name == "body":
            break
        ring = page.execute_script(
            "const s = getComputedStyle(arguments[0]); return [s.outlineStyle, parseFloat(s.outlineWidth)]", element
        )
        assert ring[0] != "none", element.get_attribute("outerHTML")
        assert ring[1] >= 2
        name = (element.get_attribute("class") or "").split(" ")[0]
        if name in wanted and name not in reached:
            element.send_keys(wanted[name])
            reached.add(name)
    assert reached == set(wanted)
    assert one(page, TABLE + ".every").is_selected()
    assert one(page, ".gain-value").text == "5\N{MULTIPLICATION SIGN}"
    assert one(page, ".boundary-value").text == "49%"


def printed(page) -> bytes:
    options = {
        "preferCSSPageSize": True,
        "printBackground": True,
        "generateDocumentOutline": True,
        "generateTaggedPDF": True,
    }
    return base64.b64decode(page.execute_cdp_cmd("Page.printToPDF", options)["data"])


def test_print_is_landscape_and_no_heading_is_left_at_the_foot_of_a_page(page) -> None:
    pdf = printed(page)
    boxes = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", pdf)
    assert 3 <= len(boxes) <= 12
    assert all(float(width) > float(height) for width, height in boxes)
    headings = re.findall(rb"/Title \(([^\n]*)\)\n/Dest \[\d+ 0 R /XYZ [\d.]+ ([\d.]+) \d\]", pdf)
    assert len(headings) >= 5
    # Points from the foot of the page, of which 31 are margin: the heading and two lines at least.
    assert [title for title, height in headings if float(height) < 90] == []


@pytest.mark.parametrize("columns", ["standard", "all"])
def test_nothing_is_cut_on_paper(columns: str, page) -> None:
    if columns == "all":
        for switch in every(page, ".every"):
            if switch.is_displayed():
                switch.click()
    with seen(page, PAPER, 720, media="print", scheme="dark"):
        assert page.execute_script(OVERHANGING, PAPER, False) == []
        assert not any(each.is_displayed() for each in every(page, "nav, .tools, .compare"))
        back = one(page, "body").value_of_css_property("background-color")
        assert back == "rgba(255, 255, 255, 1)"
        assert page.execute_script(CONTRAST) == []
        summary = one(page, ".origins summary")
        assert summary.is_displayed()

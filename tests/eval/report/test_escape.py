"""Everything that a record, a manifest or a table's recipe can say comes out of the report as text."""

import copy
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from eval.records import load_records, make_protocol, pixel_hash, protocol_hash
from eval.report.gather import gather
from eval.report.page import write_report
from tests.eval.sample_records import make_record
from tests.eval.sample_runs import write_run
from tests.eval.sample_specs import TABLE1, make_spec

PAYLOADS = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' autofocus onfocus='alert(1)",
    "javascript:alert(1)",
    "<!--<script>",
    "{{ 7 * 7 }}{% raw %}",
    "$\\frac{1}{0}$ &lt;b&gt;",
)
FIXED = {"status", "experiment", "method", "pixel_hash", "protocol_hash", "profile", "_target_"}


class Elements(HTMLParser):
    """Tags, attributes and the text of a page, as a browser takes them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.handlers, self.links, self.text, self.scripts = [], [], [], "", []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on") or name == "autofocus"]
        self.links += [value for name, value in attrs if name in ("href", "src") and value]
        self.scripts += [""] if tag == "script" else []
        self._tag = tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.tags and self._tag == "script":
            self.scripts[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._tag = ""


def spoilt(value: Any, payload: str, key: str = "") -> Any:
    """`value` with `payload` in every string that has a free form."""
    if isinstance(value, dict):
        return {name: spoilt(item, payload, name) for name, item in value.items()}
    if isinstance(value, list):
        return [spoilt(item, payload) for item in value]
    return f"{value} {payload}" if isinstance(value, str) and key not in FIXED else value


def make_spoilt(method: str, payload: str, status: str = "ok") -> dict:
    """A valid record whose words are all hostile."""
    record = spoilt(make_record(method, status=status, invalid=1), payload)
    record["config"]["method"][f"note {payload}"] = payload
    for key in ("merges", "metrics", "images", "provenance"):
        record[key] = copy.deepcopy(record[key])
    record["images"]["foreign"] = [payload]
    facts = {
        key: record["protocol"][key]
        for key in ("prompts_hash", "reference_hash", "metrics", "n", "n_reference", "device_name")
    }
    record["protocol"] = make_protocol(record["config"], **facts)
    record |= {"pixel_hash": pixel_hash(record["config"]), "protocol_hash": protocol_hash(record["protocol"])}
    return record


def test_no_word_of_anyone_becomes_an_element(tmp_path: Path) -> None:
    plain = Elements(page_of(tmp_path / "plain" / "runs", "a plain word"))
    hostile = Elements(page_of(tmp_path / "hostile" / "runs", " ".join(PAYLOADS)))
    assert hostile.tags == plain.tags
    assert hostile.handlers == plain.handlers == []
    assert not [link for link in hostile.links if link.lower().startswith("javascript")]
    assert len(hostile.scripts) == len(plain.scripts)
    assert hostile.scripts[-1] == plain.scripts[-1]  # the page's own
    for payload in PAYLOADS:
        assert payload in " ".join(hostile.text.split())
        assert payload in "".join(words(json.loads(hostile.scripts[0])))


def words(value: Any) -> list[str]:
    """Every string in nested lists and mappings."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value] if isinstance(value, str) else [word for item in inner for word in words(item)]


def page_of(runs: Path, payload: str) -> str:
    """A page of two runs, one of them failed, and a table, with `payload` wherever words are free."""
    write_run(runs, make_spoilt("none", payload), prompts=(payload, f"a {payload}"))
    write_run(runs, make_spoilt("retom", payload, status="failed"), prompts=(payload,))
    recipe = spoilt(TABLE1, payload)
    recipe |= {key: TABLE1[key] for key in ("name", "labels", "metrics") if key in TABLE1}
    recipe["rows"] = [
        row | {"method": kept["method"]} for row, kept in zip(recipe["rows"], TABLE1["rows"], strict=True)
    ]
    gathered = gather([make_spec(recipe)], lambda: load_records(runs), runs)
    assert gathered.overview is not None, gathered.problems
    folder = runs.parent / "out"
    return write_report(gathered, folder, title=payload).read_text(encoding="utf-8")

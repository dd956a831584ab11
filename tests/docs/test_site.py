"""`make docs`: the site builds without a warning, asks no server for anything, and holds what it generates."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_make_docs_builds_with_warnings_as_errors() -> None:
    done = subprocess.run(["make", "--dry-run", "docs"], cwd=ROOT, check=True, capture_output=True, text=True)
    assert "mkdocs build --strict" in done.stdout


def test_no_page_loads_anything_from_a_server(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        tags = re.findall(r"<(?:script|img|iframe|link|source)\b[^>]*>", page.read_text(encoding="utf-8"))
        loaded = [url for tag in tags for url in re.findall(r'(?:src|href)="(https?:[^"]*)"', tag)]
        assert loaded == [], page


def test_the_first_page_says_what_it_is_what_it_shows_and_what_to_run(site: Path) -> None:
    text = (site / "index.html").read_text(encoding="utf-8")
    assert "Token merging makes diffusion models faster" in text
    assert re.search(r"<code>retom</code>.*0\.791 \[0\.755, 0\.829\]", text, re.DOTALL)
    assert "make smoke" in text


def test_every_public_name_has_its_reference(site: Path) -> None:
    import retom

    text = (site / "api.html").read_text(encoding="utf-8")
    for name in [*retom.__all__, "testing.check_method"]:
        assert f'id="retom.{name}"' in text, name


def test_every_choice_of_the_configuration_is_listed(site: Path) -> None:
    text = (site / "configuration.html").read_text(encoding="utf-8")
    groups = [
        folder for folder in (ROOT / "conf").iterdir() if folder.is_dir() and folder.name not in ("hydra", "local")
    ]
    assert len(groups) >= 10
    for group in groups:
        assert f'<h2 id="{group.name}">' in text, group.name
        for choice in group.glob("*.yaml"):
            assert re.search(rf"<summary>{re.escape(choice.stem)}\b", text), choice


def test_lists_that_follow_text_are_lists(site: Path) -> None:
    text = (site / "input.html").read_text(encoding="utf-8")
    assert "<ol>" in text
    assert not re.search(r"<p>[^<]*:\s*1\. A column", text)

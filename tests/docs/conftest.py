"""What the tests of the documentation share: the files that its pages show, where Python and Hydra find them."""

import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from retom import families
from scripts.command_line.entry import CONF
from tests.docs.blocks import PAGES, files

PACKAGES = ("my_methods",)


@pytest.fixture(scope="session")
def shown(tmp_path_factory) -> Path:
    """A folder with conf/ and with every file that a page shows under its name."""
    folder = tmp_path_factory.mktemp("shown")
    shutil.copytree(CONF, folder / "conf")
    for page in PAGES:
        for name, text in files(page).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
    declare(folder)
    return folder


def declare(folder: Path) -> None:
    """What installing the package of `folder`/pyproject.toml would leave of it for importlib.metadata."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {f"[{group}]": entries for group, entries in project["entry-points"].items()}
    lines = [line for group, entries in groups.items() for line in (group, *(f"{k} = {v}" for k, v in entries.items()))]
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")


@pytest.fixture
def found(shown: Path, monkeypatch) -> Iterator[str]:
    """The override by which Hydra finds these files; Python finds them too, and forgets them afterwards."""
    monkeypatch.syspath_prepend(shown)
    monkeypatch.setattr(families, "_registered", [])
    families._installed.cache_clear()
    yield f"hydra.searchpath=[file://{shown}/conf]"
    for name in [name for name in sys.modules if name.partition(".")[0] in PACKAGES]:
        del sys.modules[name]
    families._installed.cache_clear()

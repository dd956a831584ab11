"""docs/architecture.md and docs/decisions/ name files that exist, every room, and every decision."""

import re
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT
from tests.test_house import arrows

MAP, DECISIONS = ROOT / "docs" / "architecture.md", sorted((ROOT / "docs" / "decisions").glob("*.md"))
FOLDERS = ("retom", "baselines", "eval", "scripts", "training")
ROOMS = sorted({path.parent for folder in FOLDERS for path in (ROOT / folder).glob("*/*.py")})
PLACEHOLDER = re.compile(r"[^/]*N(AME|NNN)\b[^/]*$")  # a file that the reader is to write


def paths(page: Path) -> list[str]:
    """What is in backticks and looks like a path. Of a file to be written, its folder."""
    quoted = re.findall(r"`([\w.-]+/[\w./-]*|[\w-]+\.yml)`", page.read_text(encoding="utf-8"))
    return [PLACEHOLDER.sub("", path) for path in quoted]


@pytest.mark.parametrize("page", [MAP, *DECISIONS], ids=lambda page: page.stem)
def test_every_path_exists(page: Path) -> None:
    assert paths(page)
    missing = [path for path in paths(page) if not (ROOT / path).exists()]
    assert not missing


def test_the_map_names_every_room() -> None:
    assert len(ROOMS) > 20
    assert {f"{room.relative_to(ROOT)}/" for room in ROOMS} <= set(paths(MAP))


def test_rooms_of_eval_are_listed_in_the_order_of_their_imports() -> None:
    order = [path for path in paths(MAP) if re.fullmatch(r"eval/\w+/", path) and path != "eval/assets/"]
    rooms = list(dict.fromkeys(path.split("/")[1] for path in order))
    for name, others in arrows().items():
        room = name.split(".")[1] if name.startswith("eval.") else ""
        if room in rooms:
            above = rooms[: rooms.index(room) + 1]
            below = [other for other in others if other.startswith("eval.") and other.split(".")[1] in rooms]
            assert all(other.split(".")[1] in above for other in below), name


def test_every_decision_is_listed() -> None:
    text, navigation = ((ROOT / name).read_text(encoding="utf-8") for name in ("docs/decisions/index.md", "mkdocs.yml"))
    records = [page for page in DECISIONS if page.stem != "index"]
    assert [int(page.stem[:4]) for page in records] == list(range(1, len(records) + 1))
    for page in records:
        title = re.match(r"# (\d+)\. (.*)\n", page.read_text(encoding="utf-8"))
        assert f"| [{title[1]}]({page.name}) | {title[2]} |" in text
        assert f"- decisions/{page.name}\n" in navigation


def test_the_picture_names_every_room() -> None:
    picture = (ROOT / "docs" / "architecture.svg").read_text(encoding="utf-8")
    for room in ROOMS:
        assert f">{room.name}</text>" in picture, room

"""The code blocks of the documentation: python, shell commands and files, as they stand in README.md and docs/*.md."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "results" / "README.md", *(ROOT / "docs").rglob("*.md")])
PROGRAMS = ("python", "python3", "python3.11", "make", "pip", "accelerate", "torchrun", "source", "sbatch", "hf")
LANGUAGES = ("python", "sh", "yaml", "toml", "text")
_FENCE = re.compile(r" *```(.*)")
_SKIPPED = re.compile(r"<!-- not run: (.+) -->")
_FILE = re.compile(r"`([\w/.]+/[\w.]+\.(?:py|yaml)|pyproject\.toml)`[^`]*:")
_SETTING = re.compile(r"[A-Z_]+=\S*")


@dataclass(frozen=True)
class Block:
    """One code block: where it begins, its language ("sh" for indented commands), and why it is not run, or None."""

    page: Path
    line: int
    language: str
    text: str
    reason: str | None
    file: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """One command: its program and arguments without the settings of the environment before them."""

    block: Block
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.block} {' '.join(self.words)}"


def blocks(page: Path) -> list[Block]:
    """The blocks of a page in their order."""
    lines, found, number = page.read_text(encoding="utf-8").splitlines(), [], 0
    while number < len(lines):
        fence = _FENCE.fullmatch(lines[number])
        if fence:
            end = next(n for n in range(number + 1, len(lines)) if lines[n].strip() == "```")
            found.append(_block(page, lines, number, fence[1].strip("{. }").split(" ")[0], lines[number + 1 : end]))
            number = end
        elif _begins(lines, number):
            end = number
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            found.append(_block(page, lines, number, "", lines[number:end]))
            number = end - 1
        number += 1
    return found


def _begins(lines: list[str], number: int) -> bool:
    """Whether an indented code block begins here, and not a list item's further paragraph."""
    if not lines[number].startswith("    ") or (number and lines[number - 1].strip() and lines[number - 1][0] != "#"):
        return False
    above = [line for line in lines[:number] if line.strip() and not line.startswith("    ")]
    return not above or not re.match(r"([*-]|\d+\.) |  |\S*:::", above[-1])


def _block(page: Path, lines: list[str], number: int, language: str, body: list[str]) -> Block:
    above = [line for line in lines[:number] if line.strip()][-1:]
    skipped = _SKIPPED.fullmatch(above[0]) if above else None
    file = _FILE.match(above[0]) if above else None
    text = "\n".join(line.removeprefix("    ") if not language else line for line in body).strip("\n")
    if not language:
        language = "sh" if any(program(line) for line in text.splitlines()) else "text"
    return Block(page, number + 1, language, text, skipped and skipped[1], file and file[1])


def program(line: str) -> bool:
    """Whether a line begins with a program that the documentation runs."""
    words = [word for word in line.split() if not _SETTING.fullmatch(word)]
    return bool(words) and words[0] in PROGRAMS


def commands(block: Block) -> Iterator[Command]:
    """The commands of a shell block."""
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and _SETTING.fullmatch(words[0]):
            words = words[1:]
        if words:
            yield Command(block, tuple(words))


def in_prose(page: Path) -> list[Command]:
    """The commands that sentences quote, without those that leave something to fill in."""
    text = re.sub(r"(?ms)^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"))
    quoted = re.findall(r"`((?:python -m scripts\.|make |accelerate launch [^`]*-m |torchrun [^`]*-m )[^`]+)`", text)
    block = Block(page, 0, "sh", "", None, None)
    return [Command(block, tuple(shlex.split(q))) for q in quoted if not re.search(r"\.\.\.|<|NAME|=DIR", q)]


def files(page: Path) -> dict[str, str]:
    """Name and content of every file that a page shows under its name, in one block or several."""
    found: dict[str, str] = {}
    for block in blocks(page):
        if block.file:
            found[block.file] = found.get(block.file, "") + block.text + "\n"
    return found

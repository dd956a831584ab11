"""The page of `--help`: what a command is for, examples, what can be chosen, and Hydra's flags."""

import ast
import inspect
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from scripts.command_line.choices import choices

FLAGS = ("--help", "-h")
WIDTH = 110
HYDRA = """\
Flags
  --multirun, -m    one job for every combination of KEY=VALUE,VALUE
  --cfg job         print the configuration that the other arguments compose, and do nothing
  --info            print how it was composed
  --hydra-help      every other flag"""


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether one of them is a flag of this page."""
    return any(argument in FLAGS for argument in arguments)


def page(file: Path, conf: Path, config: str) -> str:
    """The page of the command in `file`, which composes conf/`config`.yaml. Nothing is imported for it."""
    purpose = inspect.cleandoc(ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "")
    groups, keys = _groups(conf, config), _keys(conf, config)
    chosen = ["Choices: GROUP=NAME, and GROUP.KEY=VALUE for one value of a choice", *map(_listed, groups.items())]
    own = ["Keys: KEY=VALUE", *(f"  {line}" for line in keys)]
    return "\n\n".join([purpose, *("\n".join(part) for part in (chosen, own) if len(part) > 1), HYDRA])


def examples(text: str) -> list[str]:
    """The command lines below "Examples:" in a docstring or on a page."""
    return re.findall(r"^ +(python -m scripts\..*)$", text.partition("Examples:\n")[2], re.MULTILINE)


def _groups(conf: Path, config: str) -> dict[str, list[str]]:
    """Where each group goes in the configuration (its name, if nowhere else) -> its choices."""
    found: dict[str, list[str]] = {}
    for entry in OmegaConf.load(conf / f"{config}.yaml").get("defaults") or []:
        if isinstance(entry, str):
            found |= _groups(conf, entry) if entry != "_self_" else {}
            continue
        group = str(next(iter(entry))).removeprefix("override ")
        if not group.startswith("hydra/"):
            found[group] = choices(conf, group.partition("@")[0])
    return found


def _keys(conf: Path, config: str) -> list[str]:
    """The keys at the top of the configuration, as its files write them, those of the files that it includes first."""
    text, found = (conf / f"{config}.yaml").read_text(encoding="utf-8"), []
    for entry in OmegaConf.create(text).get("defaults") or []:
        if isinstance(entry, str) and entry != "_self_":
            found += _keys(conf, entry)
    return found + [
        line for line in re.findall(r"^[a-z]\w*:.*$", text, re.M) if not line.startswith(("defaults:", "hydra:"))
    ]


def _listed(group: tuple[str, list[str]]) -> str:
    name, known = group
    head = f"  {name:<11} "
    return textwrap.fill(", ".join(known), WIDTH, initial_indent=head, subsequent_indent=" " * len(head))

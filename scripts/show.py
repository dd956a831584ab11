"""One prompt by several methods, side by side.

The baseline comes first, and every method generates the same seeds; results/show/<prompt>-<hash>.png. `--ui` opens a
page to try prompts instead. Times are those of single calls; `make bench` measures speed.

Examples:
    python -m scripts.show prompt="a goldfish" method=[retom,tomesd]
    python -m scripts.show --ui
"""

import hashlib
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from eval.errors import RunError
from eval.records import BASELINE
from eval.records.canonical import canonical_json
from eval.run.row import Row
from scripts.command_line.choices import choices
from scripts.command_line.entry import CONF, say, work_on_each
from scripts.command_line.nearest import nearest_to
from scripts.command_line.prompting import as_hydra_reads_it, check_prompt, check_seed
from scripts.jobs.row import device_of, read_row
from scripts.jobs.session import Session

FOLDER = "show"
FLAGS = {"--ui": "ui=true"}


def main() -> int:
    """Generate, write, report. Returns the exit status."""
    with as_hydra_reads_it(FLAGS):
        return work_on_each(_work, "show")


def _work(composed: DictConfig, choices: dict[str, str]) -> None:
    prompt, seeds = check_prompt(composed.prompt), check_seeds(OmegaConf.to_container(composed)["seeds"])
    names, others = split(HydraConfig.get().overrides.task, choices.get("method"))
    session = Session()
    session.join(device_of(composed))
    from eval.report.figures.sheet import write_sheet
    from scripts.studies.sheets import generate_columns

    if composed.ui:
        from scripts.show_page import open_page  # gradio is an extra, and slow to import

        def generate_more(methods: Sequence[str], *asked: object) -> list:
            return generate_columns(rows(dict.fromkeys([BASELINE, *methods]), others), session, *asked)

        open_page(generate_more, method_names(), names, prompt, seeds[0])
        return
    chosen = rows(names, others)
    columns = generate_columns(chosen, session, prompt, seeds)
    path = write_sheet(columns, seeds, prompt, chosen[0].results / FOLDER / _file_name(chosen, prompt, seeds))
    for column in columns:
        print(f"{column.name:<24}{'  '.join(filter(None, [*column.captions, *column.notes]))}", flush=True)
    say(f"written: {path}")


def check_seeds(seeds: object) -> list[int]:
    """The seeds; ValueError unless they are a list of different seeds."""
    if not isinstance(seeds, list) or not seeds or len(set(map(str, seeds))) < len(seeds):
        raise ValueError(f"seeds must be a list of different integers, as [0,1,2], got {seeds!r}")
    return [check_seed(seed, "seeds") for seed in seeds]


def split(arguments: Sequence[str], choice: str | None) -> tuple[list[str], list[str]]:
    """The methods that the command line asks for, the baseline first, and its other overrides.

    choice: Hydra's choice of the group, where one method is asked for.
    """
    names, others = [] if choice is None else [choice], []
    for argument, override in zip(arguments, OverridesParser.create().parse_overrides(list(arguments)), strict=True):
        if override.key_or_group == "method":
            value = override.value()
            names = [str(name) for name in value] if isinstance(value, list) else [str(value)]
        else:
            others.append(argument)
    return list(dict.fromkeys([BASELINE, *names])), others


def rows(names: Iterable[str], others: Sequence[str]) -> list[Row]:
    """A row for each method; an override of a method's option goes to the methods that have it."""
    of_methods = [argument for argument in others if _option(argument) is not None]
    shared = [argument for argument in others if argument not in of_methods]
    found = []
    for name in names:
        _check_method(name)
        plain = compose("show", overrides=[*shared, f"method={name}"])
        own = [argument for argument in of_methods if _has(plain.method, _option(argument))]
        composed = compose("show", overrides=[*shared, f"method={name}", *own]) if own else plain
        found.append(read_row(composed, {"method": name}))
    return found


def _option(argument: str) -> str | None:
    key = argument.lstrip("+~").split("=")[0]
    return key.removeprefix("method.") if key.startswith("method.") else None


def _has(method: DictConfig, option: str) -> bool:
    node = method
    for name in option.split("."):
        if not isinstance(node, DictConfig) or name not in node:
            return False
        node = node[name]
    return True


def _check_method(name: str) -> None:
    known = method_names()
    if name not in known:
        raise RunError(f"unknown method {name!r}{nearest_to(name, known)}")


def method_names() -> list[str]:
    """The methods of conf/method and of installed packages."""
    return choices(CONF, "method")


def _file_name(chosen: Sequence[Row], prompt: str, seeds: Sequence[int]) -> Path:
    words = re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:40] or "prompt"
    content = canonical_json([prompt, list(seeds), [row.hash for row in chosen]])
    return Path(f"{words}-{hashlib.sha256(content.encode()).hexdigest()[:8]}.png")


if __name__ == "__main__":
    sys.exit(main())

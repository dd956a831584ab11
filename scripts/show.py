"""One prompt by several methods, side by side: `python -m scripts.show prompt="a goldfish" method=[retom,tomesd]`.

The baseline comes first, and every method generates the same seeds; results/show/<prompt>-<hash>.png. `--ui` opens a
page to try prompts instead. Times are those of single calls; `make bench` measures speed.
"""

import dataclasses
import hashlib
import re
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from eval.errors import RunError
from eval.generation.calls import call_pipeline
from eval.generation.images import to_uint8
from eval.metrics.ssim import ssim
from eval.records import BASELINE
from eval.records.canonical import canonical_json
from eval.report.figures.sheet import Column, write_sheet
from eval.row import Row
from scripts.command_line.entry import CONF, say, work_on_each
from scripts.command_line.nearest import nearest_to
from scripts.command_line.prompting import as_hydra_reads_it, check_prompt, check_seed
from scripts.jobs.patching import applied
from scripts.jobs.row import device_of, read_row
from scripts.jobs.session import Session
from scripts.tables import method_labels

FOLDER = "show"
FLAGS = {"--ui": "ui=true"}


@dataclasses.dataclass(frozen=True, eq=False)
class Generated:
    """One method: images [H, W, 3] uint8 by seed, seconds of each call, the ratio asked for, the share removed."""

    name: str
    images: tuple[np.ndarray, ...]
    seconds: tuple[float, ...]
    ratio: float | None
    removed: float


def main() -> int:
    """Generate, write, report. Returns the exit status."""
    with as_hydra_reads_it(FLAGS):
        return work_on_each(_work, "show")


def _work(composed: DictConfig, choices: dict[str, str]) -> None:
    prompt, seeds = check_prompt(composed.prompt), check_seeds(OmegaConf.to_container(composed)["seeds"])
    names, others = split(HydraConfig.get().overrides.task, choices.get("method"))
    session = Session()
    session.join(device_of(composed))
    if composed.ui:
        from scripts.show_page import open_page  # gradio is an extra, and slow to import

        def generate_more(methods: Sequence[str], *asked: object) -> list[Column]:
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
    """The choices of conf/method."""
    return sorted(path.stem for path in (CONF / "method").glob("*.yaml"))


def generate_columns(chosen: Sequence[Row], session: Session, prompt: str, seeds: Sequence[int]) -> list[Column]:
    """A column for each row; SSIM is to the images of the first row, the baseline."""
    _warm_up(chosen[0], session, prompt)
    found = [generate(row, session, prompt, seeds) for row in chosen]
    return [column(each, found[0]) for each in found]


def _warm_up(row: Row, session: Session, prompt: str) -> None:
    """A short call that is not timed: the first call of a process is slower than later ones."""
    short = dataclasses.replace(row.sampler, steps=min(row.sampler.steps, 2))
    call_pipeline(session.pipeline(row.model, row.sampler), [prompt], [0], short)


def generate(row: Row, session: Session, prompt: str, seeds: Sequence[int]) -> Generated:
    """Images of the prompt with the row's method, one call per seed. RunError: it should merge and merged nothing."""
    pipe = session.pipeline(row.model, row.sampler)
    images, seconds = [], []
    with applied(pipe, row.method, row.backend) as on_pipe:
        for seed in seeds:
            on_pipe.set_seeds([seed])
            begin = time.perf_counter()
            image = call_pipeline(pipe, [prompt], [seed], row.sampler, output_type="np").images[0]
            seconds.append(time.perf_counter() - begin)
            images.append(to_uint8(image)[0])
        on_pipe.check(row.name)
        sites = [site for site in on_pipe.report() if site["merged"] is not None]
    tokens, merged = (sum(site[key] for site in sites) for key in ("tokens", "merged"))
    ratio = row.config["method"].get("ratio")
    return Generated(row.name, tuple(images), tuple(seconds), ratio, 1 - merged / tokens if tokens else 0.0)


def column(made: Generated, baseline: Generated) -> Column:
    """The sheet's column of one method, under its name in tables and figures."""
    first = made is baseline
    ratio = f"ratio {made.ratio:g}, " if isinstance(made.ratio, int | float) else ""
    merging = "no merging" if first else f"{ratio}{made.removed:.0%} of tokens merged"
    pairs = zip(made.images, baseline.images, strict=True)
    notes = ("",) * len(made.images) if first else tuple(_likeness(*pair) for pair in pairs)
    name = method_labels().get(made.name, made.name)
    return Column(name, (merging, f"{statistics.median(made.seconds):.2f} s"), made.images, notes)


def _likeness(image: np.ndarray, baseline: np.ndarray) -> str:
    a, b = (torch.from_numpy(pixels).permute(2, 0, 1).float() / 255 for pixels in (image, baseline))
    return f"SSIM to baseline {ssim(a, b):.3f}"


def _file_name(chosen: Sequence[Row], prompt: str, seeds: Sequence[int]) -> Path:
    words = re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:40] or "prompt"
    content = canonical_json([prompt, list(seeds), [row.hash for row in chosen]])
    return Path(f"{words}-{hashlib.sha256(content.encode()).hexdigest()[:8]}.png")


if __name__ == "__main__":
    sys.exit(main())

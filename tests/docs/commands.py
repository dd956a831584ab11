"""What the tests do with a command of the documentation: compose it as it is, or run it at the smallest size."""

import importlib.util
import itertools
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf, open_dict
from packaging.requirements import Requirement

from scripts.command_line.arguments import check_arguments
from scripts.command_line.entry import CONF
from scripts.command_line.prompting import translated
from scripts.jobs.row import read_row
from scripts.show import FLAGS
from tests.docs.blocks import ROOT
from tests.scripts.conftest import SMALLEST

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
DROPPED = ("results", "reference", "sampler", "hydra/launcher", "hydra.launcher", "prompts.classes",
           "prompts.images_per_class", "shard")  # fmt: skip
SMALL_MODEL = ("sampler=tiny_random", "prompts=smoke", "reference=synthetic", "metrics=smoke_random")
SIZE = (*SMALLEST[1:], "sampler.steps=1", "timing=off")
TIMED = ("timing=smoke", "timing.warmup=0", "timing.images=1")
TABLES = ("tables", "report", "claims")  # made from the records of the run before
RUNS = {  # what is run for real, and what makes it small
    "run": SIZE,
    **dict.fromkeys(TABLES, SIZE),
    "show": ("model=tiny_random", "sampler.steps=1", "seeds=[0]"),
    "independence": (*SIZE, "prompts.classes=3"),
    "bench": ("bench.cells.level1.shapes=[[64,32,2]]", "bench.cells.level1.rounds=2"),
}


def module_of(words: Sequence[str]) -> tuple[str, list[str]] | None:
    """Module and arguments of `python -m MODULE ...`, also under a launcher of processes; None for anything else."""
    if not re.search(r"(^|/)python[\d.]*$|^accelerate$|^torchrun$", words[0]):
        return None
    place = words.index("-m") if "-m" in words else None
    if place is None:
        return None
    arguments = list(words[place + 2 :])
    return words[place + 1], arguments[:-1] if arguments[-1:] == ["..."] else arguments


def made_of(target: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Module and arguments of every command of `make TARGET ...`; an unknown target raises CalledProcessError."""
    done = subprocess.run(["make", "--dry-run", *target], cwd=ROOT, check=True, capture_output=True, text=True)
    for module, rest in re.findall(r"python -m ([\w.]+)((?: [^;|&>\n]+)?)", done.stdout):
        yield module, shlex.split(rest.removesuffix("\\"))


def check_packages(arguments: Sequence[str]) -> None:
    """AssertionError for a file of constraints or an extra that the project does not have."""
    assert arguments[0] in ("install", "download")
    rest = iter(arguments[1:])
    for word in rest:
        if word == "-c":
            assert (ROOT / next(rest)).is_file()
        elif word.startswith("-") and "=" not in word and word not in ("-e", "--no-deps", "--no-index", "--quiet"):
            next(rest)  # the option's value
        elif word.startswith("."):
            assert set(Requirement(f"retom{word[1:]}").extras) <= set(EXTRAS)
        elif not word.startswith("-") and not word.endswith((".whl", "...")):
            Requirement(word)


def check_module(module: str, arguments: Sequence[str], search: Sequence[str] = ()) -> None:
    """Whatever `python -m` is given: pytest's paths, a module's name, a command's configuration."""
    if module == "pip":
        return check_packages(arguments)
    if module == "pytest":
        paths = [word.partition("::")[0] for word in arguments if word.startswith("tests/")]
        assert all((ROOT / path).exists() for path in paths)
        return None
    assert importlib.util.find_spec(module) is not None
    if module.startswith("scripts."):
        return check_composes(module.removeprefix("scripts."), [*arguments, *search])
    return None


def check_composes(name: str, arguments: Sequence[str]) -> None:
    """Compose every job of a command as Hydra would, and of `scripts.run` check every row."""
    given = translated(list(arguments), FLAGS) if name == "show" else list(arguments)
    given = [word for word in given if not word.startswith("--") and word != "job"]
    config = name if (CONF / f"{name}.yaml").exists() else "config"
    check_arguments(given, CONF, config)
    for job in _jobs(given):
        with initialize_config_dir(str(CONF), version_base="1.3"):
            composed = compose(config, overrides=job, return_hydra_config=True)
        choices = OmegaConf.to_container(composed.hydra.runtime.choices)
        with open_dict(composed):
            del composed["hydra"]
        if name == "run" and "prompts.classes=on_disk" not in job:
            if composed.reference.get("path", "") is None:
                composed.reference.path = "DIR"
            read_row(composed, choices)


def _jobs(arguments: Sequence[str]) -> list[list[str]]:
    """The overrides of every job that a sweep on the command line makes."""
    parsed = OverridesParser.create().parse_overrides(list(arguments))
    each = [
        [f"{override.key_or_group}={value}" for value in override.sweep_string_iterator()]
        if override.is_sweep_override()
        else [override.input_line]
        for override in parsed
    ]
    return [list(job) for job in itertools.product(*each)]


def small(name: str, arguments: Sequence[str], folder: Path | None = None) -> list[str] | None:
    """The same command at the smallest size, or None where it has no small form. folder: of a saved pipeline."""
    if name not in RUNS or (name == "bench" and "bench.only=[level1]" not in arguments):
        return None
    if name in ("show", "bench") or "--cfg" in arguments:
        return [*arguments, *RUNS[name]] if "--cfg" not in arguments else ["--cfg", "job", *arguments[:-2]]
    own = {"model=mine", "model.path=FOLDER"} & set(arguments)
    kept, model = [], ["model=tiny_random"]
    for word in arguments:
        key = word.lstrip("+").partition("=")[0]
        if key == "model" and own:
            model = [word, f"model.path={folder}", *SMALL_MODEL]
        elif word != "metrics=real" and key not in ("model", "model.path") and not key.startswith(DROPPED):
            kept.append(word)
    searching = "experiment=search" in arguments
    extra = (*TIMED, "hydra.sweeper.n_trials=2", "objective.metric=clip") if searching else ()
    return [*kept, *model, *RUNS[name], *extra]

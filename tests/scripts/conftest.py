"""What the tests of the front share: rows composed as the command line composes them, at the smallest size."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf, open_dict

from eval.run.row import Row
from scripts.command_line.entry import CONF
from scripts.jobs.row import read_row
from scripts.jobs.session import Session

SMALLEST = (
    "model=tiny_random",
    "sampler.steps=2",
    "prompts.classes=2",
    "prompts.images_per_class=1",
    "reference.per_class=2",
    "bootstrap.replicates=4",
)


def composed(*overrides: str, name: str = "config") -> tuple[DictConfig, dict[str, str]]:
    """The composed configuration and the choice of each group. name: of a file of conf/."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(name, overrides=list(overrides), return_hydra_config=True)
    choices = OmegaConf.to_container(config.hydra.runtime.choices)
    with open_dict(config):
        del config["hydra"]
    return config, choices


def trusting(choice: Path) -> str:
    """The override that trusts the package a file of conf/ is of: a method a user adds is tested like ours."""
    target = OmegaConf.load(choice).get("_target_") or ""
    return f"trusted=[{target.partition('.')[0]}]"


@pytest.fixture(autouse=True)
def _heard() -> None:
    """Before every test: whatever ran before it, log records are heard."""
    _give_logging_back()


def _give_logging_back() -> None:
    # Hydra leaves logging as its launcher wants it between jobs: silent.
    logging.root.setLevel(logging.WARNING)
    for logger in logging.root.manager.loggerDict.values():
        logger.disabled = False


@pytest.fixture
def smallest_row(tmp_path: Path) -> Callable[..., Row]:
    """A function from overrides to a row of the tiny model whose results go to the test's own folder."""

    def make(*overrides: str) -> Row:
        return read_row(*composed(*SMALLEST, "timing=off", f"results={tmp_path}", *overrides))

    return make


@pytest.fixture
def command(monkeypatch, tmp_path: Path) -> Callable[..., int]:
    """A function that runs an entry point's main with arguments, results in the test's own folder; the exit status."""

    def call(module: ModuleType, *arguments: str, results: object = tmp_path) -> int:
        monkeypatch.setattr(sys, "argv", [module.__name__, *arguments, f"results={results}"])
        GlobalHydra.instance().clear()
        try:
            return module.main()
        finally:
            GlobalHydra.instance().clear()
            _give_logging_back()

    return call


class SmallMemory:
    """While it is entered, `unet` has room for so many `images` at once, and notices in the middle of a generation."""

    def __init__(self, unet: torch.nn.Module, images: int) -> None:
        self.images, self.calls = images, 0
        self._handle = unet.register_forward_pre_hook(self, with_kwargs=True)

    def __call__(self, _module: torch.nn.Module, args: tuple, kwargs: dict) -> None:
        self.calls += 1
        batch = (args[0] if args else kwargs["sample"]).shape[0] // 2  # both halves of guidance
        if batch > self.images and self.calls > 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def __enter__(self) -> "SmallMemory":
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.remove()


@pytest.fixture(scope="session")
def session() -> Session:
    """One session for all tests, so that the tiny pipeline is built once."""
    session = Session()
    session.join("cpu")
    return session

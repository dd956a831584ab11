"""What the tests of the front share: rows composed as the command line composes them, at the smallest size."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf, open_dict

from scripts.entry import CONF
from scripts.row import Row, read_row
from scripts.session import Session

SMALLEST = (
    "model=tiny_random",
    "sampler.steps=2",
    "prompts.classes=2",
    "prompts.images_per_class=1",
    "reference.per_class=2",
    "bootstrap.replicates=4",
)


def composed(*overrides: str) -> tuple[DictConfig, dict[str, str]]:
    """The composed configuration and the choice of each group."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides=list(overrides), return_hydra_config=True)
    choices = OmegaConf.to_container(config.hydra.runtime.choices)
    with open_dict(config):
        del config["hydra"]
    return config, choices


@pytest.fixture
def smallest_row(tmp_path: Path) -> Callable[..., Row]:
    """A function from overrides to a row of the tiny model whose results go to the test's own folder."""

    def make(*overrides: str) -> Row:
        return read_row(*composed(*SMALLEST, "timing=off", f"results={tmp_path}", *overrides))

    return make


@pytest.fixture(scope="session")
def session() -> Session:
    """One session for all tests, so that the tiny pipeline is built once."""
    session = Session()
    session.join("cpu")
    return session

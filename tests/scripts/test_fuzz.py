"""Configurations and command lines from anywhere: a row, or one sentence; no traceback, and nothing written."""

import os
import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

import scripts.jobs.run_row
import scripts.run
from scripts.command_line.entry import is_user_error
from scripts.command_line.trust import check_composed
from scripts.jobs.row import read_row
from tests.eval.test_fuzz import BOUNDED, VALUES, changed, places
from tests.scripts.conftest import SMALLEST, composed

CHOICES = ("method=retom", "method=dynamic_linear", "method=tomesd", "method=ca_tome", "model=sd15", "metrics=real")
BASES: dict[str, tuple[dict, dict]] = {}


def base(choice: str) -> tuple[dict, dict]:
    """A composed configuration as plain data, and the choices; composed once."""
    if choice not in BASES:
        overrides = [*SMALLEST[1:], choice] if choice == "model=sd15" else [*SMALLEST, choice]
        config, choices = composed(*overrides)
        BASES[choice] = OmegaConf.to_container(config, resolve=False), dict(choices)
    return BASES[choice]


@BOUNDED
@given(data=st.data())
def test_any_configuration_is_a_row_or_one_line(data: st.DataObject, tmp_path_factory) -> None:
    config, choices = base(data.draw(st.sampled_from(CHOICES)))
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from([place for place in places(config) if place[0] != "results"]))
        config = changed(config, path, data.draw(VALUES), remove=data.draw(st.integers(0, 4)) == 0)
    folder = tmp_path_factory.mktemp("fuzz")
    here = Path.cwd()
    os.chdir(folder)
    try:
        asked = OmegaConf.create(config)
        check_composed(asked, ())
        read_row(asked, choices)
    except OmegaConfBaseException:  # compose_and_call tells these
        pass
    except Exception as error:
        if not is_user_error(error):
            raise
    finally:
        os.chdir(here)
    assert not any(path.is_file() for path in folder.rglob("*"))


KEYS = (
    "method",
    "method.ratio",
    "sampler.steps",
    "prompts.classes",
    "model",
    "experiment",
    "+x",
    "~method",
    "~sampler",
    "hydra.x",
)
WORDS = st.text(st.sampled_from("abz019-+.,:=[]{}()'\"$!~*@/ \\\n"), max_size=10)


@pytest.mark.parametrize("multirun", [False, True])
@given(key=st.sampled_from(KEYS) | WORDS, value=WORDS)
@settings(BOUNDED, max_examples=25)  # each is composed by Hydra, a tenth of a second
def test_any_command_line_is_a_row_or_one_line(multirun: bool, key: str, value: str, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    argument = f"{key}={value}".lstrip("-")
    argv = ["run", *(["--multirun"] if multirun else []), *SMALLEST, f"results={folder}", argument]
    with pytest.MonkeyPatch.context() as patch, (folder / "output").open("w+") as output:
        patch.setattr(scripts.jobs.run_row, "run_row", lambda *_: "done")
        patch.setattr(sys, "argv", argv)
        patch.setattr(sys, "stderr", output)
        GlobalHydra.instance().clear()
        try:
            status = scripts.run.main()
        finally:
            GlobalHydra.instance().clear()
        output.seek(0)
        text = output.read()
    assert status in (0, 1)
    assert "Traceback" not in text, text
    assert status == 0 or "error: " in text

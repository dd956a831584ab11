"""A folder of a pipeline that needs an image: one line from the run, the dry run and other commands."""

from pathlib import Path

import pytest
from diffusers import StableDiffusionImg2ImgPipeline

import scripts.run
import scripts.show
from tests.scripts.conftest import SMALLEST

SENTENCE = "is a StableDiffusionImg2ImgPipeline, which needs an image (image)"


@pytest.fixture
def choices(tiny_original, tmp_path: Path) -> list[str]:
    folder = tmp_path / "img2img"
    StableDiffusionImg2ImgPipeline(**tiny_original.components, requires_safety_checker=False).save_pretrained(folder)
    return ["model=sd15", f"model.path={folder}", *SMALLEST[1:], "sampler=cpu", "sampler.height=64", "sampler.width=64"]


@pytest.mark.parametrize("flag", [[], ["--dry-run"]])
def test_a_run_is_refused_in_one_line(flag: list[str], choices: list[str], command, tmp_path: Path, capsys) -> None:
    asked = [*choices, "metrics=none", "timing=off", "reference=synthetic"]
    assert command(scripts.run, *flag, *asked, results=tmp_path / "results") == 1
    output = "".join(capsys.readouterr())
    assert SENTENCE in output
    assert "Traceback" not in output


def test_so_is_a_sheet(choices: list[str], command, tmp_path: Path, capsys) -> None:
    assert command(scripts.show, *choices, "reference=synthetic", results=tmp_path / "results") == 1
    output = capsys.readouterr().err
    assert SENTENCE in output
    assert "Traceback" not in output

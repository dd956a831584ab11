"""Which method runs on which model: `python -m tests.docs.matrix` tries all of them and writes docs/models.md.

Every choice of conf/method is put on a tiny pipeline of every architecture and generates two images in one call.
"""

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from omegaconf import OmegaConf

from eval.errors import RunError
from eval.generation.models.config import ModelConfig
from eval.generation.models.skeleton import denoiser_skeleton
from retom.patching.sites import find_sites
from scripts.command_line.entry import CONF
from scripts.jobs.patching import applied
from scripts.jobs.row import build
from tests.docs.families import FAMILIES, family
from tests.scripts.conftest import composed

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
YES, NO = "yes", "no"
DEEPER = ("max_downsample=2", "ratio_level_2=0.5")  # options that merge one level below the top
GIVEN = {"fewer_steps": ["method.share=0.5"]}  # otherwise measured first
TITLES = {
    "sd15": "SD 1.5",
    "sd21": "SD 2.1",
    "sdxl": "SDXL",
    "pixart": "PixArt",
    "sd3": "SD 3",
    "sd35_medium": "SD 3.5 medium",
    "sd35_large": "SD 3.5 large",
    "flux": "Flux",
}
INTRODUCTION = """# Supported models

`retom` and the benchmark run on the architectures below. Which method runs on which model was found by running it:
every method generates images with a tiny pipeline of the model's own diffusers classes, on a CPU.
`python -m tests.docs.matrix` writes this page, and a test compares it with a new run.
"""
OTHERS = """
`retom.apply_patch` also serves these denoisers, which the benchmark does not generate images with: inpainting U-Nets,
U-Nets next to a ControlNet, with GLIGEN or with IP-Adapter, and the video U-Nets of AnimateDiff (`UNetMotionModel`) and
text-to-video (`UNet3DConditionModel`). Every other denoiser is refused ([your own model](own_attention.md)).

The benchmark's `model=tiny` and `model=tiny_random` have the architecture of Stable Diffusion 1.5 at 64 px.
"""
LEGEND = f"""
* *{YES}*: runs with the options of `conf/method`, several images per call.
* An option such as `{DEEPER[0]}`: the options of `conf/method` merge at the top level alone, where SDXL has no
  attention. This override of `method` merges at the next level.
* *{NO}*: ends with the message below.
"""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a method did on a model, and the message of a refusal."""

    cell: str
    message: str = ""


def methods() -> list[str]:
    """The choices of conf/method, none first and ReToM after it."""
    names = sorted(path.stem for path in (CONF / "method").glob("*.yaml"))
    return sorted(names, key=lambda name: (name != "none", not name.startswith("retom"), name))


@functools.cache
def method_of(name: str, *options: str) -> object:
    """The method of a choice of conf/method, with overrides of its options."""
    given = [*GIVEN.get(name, []), *(f"method.{option}" for option in options)]
    config, _ = composed("model=tiny_random", f"method={name}", *given)
    return build("method", OmegaConf.to_container(config.method, resolve=True))


def tried(pipe: DiffusionPipeline, name: str) -> Outcome:
    """Put a method on a pipeline and generate two images in one call."""
    try:
        return Outcome(YES) if _generates(pipe, name, 2) else _deeper(pipe, name)
    except (ValueError, RunError) as error:
        return Outcome(NO, str(error))


def _generates(pipe: DiffusionPipeline, name: str, images: int, *options: str) -> bool:
    """Whether it merges what it should; errors of the method as they are."""
    with applied(pipe, method_of(name, *options), "gather") as on_pipe:
        on_pipe.set_seeds(list(range(images)))
        generators = [torch.Generator().manual_seed(seed) for seed in range(images)]
        size = {"height": 64, "width": 64, "num_inference_steps": 2, "output_type": "pt"}
        made = pipe(["a cat"] * images, generator=generators, **size).images
        assert made.shape[0] == images
        assert torch.isfinite(made).all()
        return not on_pipe.merges or any(site["merged"] < site["tokens"] for site in on_pipe.report() if site["merged"])


def _deeper(pipe: DiffusionPipeline, name: str) -> Outcome:
    """What merges nothing with its own options, one level further down."""
    known = {field.name for field in dataclasses.fields(method_of(name))}
    for option in DEEPER:
        if option.partition("=")[0] in known and _generates(pipe, name, 2, option):
            return Outcome(f"`{option}`")
    return Outcome(NO, f"method {name} merges nothing on this model")


def outcomes(names: Sequence[str]) -> dict[str, dict[str, Outcome]]:
    """By method and family."""
    pipes = {place: family(place) for place in FAMILIES}
    return {name: {place: tried(pipe, name) for place, pipe in pipes.items()} for name in names}


def page() -> str:
    """The page as it should be."""
    found = outcomes(methods())
    return "\n".join([INTRODUCTION, *_architectures(), OTHERS, *_matrix(found), LEGEND, *_messages(found)]) + "\n"


def _architectures() -> list[str]:
    lines = ["## Architectures", "", "| Model | `model=` | Denoiser | Sites |", "|---|---|---|---:|"]
    for choice, title in TITLES.items():
        denoiser = denoiser_skeleton(ModelConfig(choice, "random", architecture=choice))
        lines.append(f"| {title} | `{choice}` | `{type(denoiser).__name__}` | {len(find_sites(denoiser))} |")
    return lines


def _matrix(found: dict[str, dict[str, Outcome]]) -> list[str]:
    lines = ["## Methods by model", "", "| Method | " + " | ".join(TITLES[place] for place in FAMILIES) + " |"]
    lines.append("|---|" + "---|" * len(FAMILIES))
    rows = {name: tuple(outcome.cell for outcome in by_family.values()) for name, by_family in found.items()}
    for cells in dict.fromkeys(rows.values()):
        names = ", ".join(f"`{name}`" for name, own in rows.items() if own == cells)
        lines.append(f"| {names} | " + " | ".join(cells) + " |")
    return lines


def _messages(found: dict[str, dict[str, Outcome]]) -> list[str]:
    refused = [
        (outcome.message, name, TITLES[place])
        for name, by_family in found.items()
        for place, outcome in by_family.items()
        if outcome.cell == NO
    ]
    lines = ["## Messages of refused methods", ""]
    for message, group in itertools.groupby(sorted(refused), key=lambda entry: entry[0]):
        pairs = list(group)
        names, models = (", ".join(dict.fromkeys(pair[place] for pair in pairs)) for place in (1, 2))
        lines.append(f"* {names} on {models}:\n\n    ```text\n    {message}\n    ```")
    return lines


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

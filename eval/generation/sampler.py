"""How images are sampled: scheduler, steps, guidance, size, dtype, device, attention, compilation, batch size."""

import dataclasses
import difflib
import re
from typing import TYPE_CHECKING

from eval.checks import check_flag, check_integer, check_number, packaged_file
from eval.devices import check_device_name
from eval.records.canonical import depends_on_batch

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "float16", "bfloat16")
ATTENTIONS = ("sdpa", "naive")
PIPELINE_MULTIPLE = 8  # diffusers' pipelines reject other sizes, whatever the VAE


@dataclasses.dataclass(frozen=True)
class SamplerConfig:
    """Everything besides model, method and prompt that affects an image.

    scheduler: a diffusers scheduler class, configured from the model's own. steps: inference steps. guidance:
    classifier-free guidance scale. height, width: pixels. dtype: "float32" | "float16" | "bfloat16".
    device: "cpu" | "cuda" | "cuda:N". attention: "sdpa" (fused) | "naive" (explicit softmax matrix).
    compile: torch.compile of the denoiser. batch_size: images per pipeline call; see `images_depend_on_batch`.
    """

    scheduler: str = "PNDMScheduler"
    steps: int = 50
    guidance: float = 7.5
    height: int = 512
    width: int = 512
    dtype: str = "float32"
    device: str = "cpu"
    attention: str = "sdpa"
    compile: bool = False
    batch_size: int = 1

    def __post_init__(self) -> None:
        _check_choice("scheduler", self.scheduler, scheduler_names())
        _check_choice("dtype", self.dtype, list(DTYPES))
        _check_choice("attention", self.attention, list(ATTENTIONS))
        check_integer("steps", self.steps, 1)
        check_integer("batch_size", self.batch_size, 1)
        for name in ("height", "width"):
            check_integer(name, getattr(self, name), 1)
            check_multiple(name, getattr(self, name), PIPELINE_MULTIPLE)
        check_number("guidance", self.guidance, "[0, inf)")
        check_device_name(self.device)
        check_flag("compile", self.compile)

    @property
    def torch_dtype(self) -> "torch.dtype":
        """The torch dtype of weights and activations."""
        import torch  # not needed to check a configuration

        return getattr(torch, self.dtype)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of an image."""
        return self.width, self.height

    @property
    def images_depend_on_batch(self) -> bool:
        """Whether `batch_size` changes images beyond float noise and is therefore hashed (`depends_on_batch`)."""
        return depends_on_batch(self.dtype)


def scheduler_names() -> list[str]:
    """The scheduler classes of the installed diffusers that torch can run.

    Read from the file that lists them, as importing diffusers takes seconds.
    """
    listed = packaged_file("diffusers", "schedulers/__init__.py").read_text(encoding="utf-8")
    return sorted(set(re.findall(r'"((?!Flax)\w+Scheduler)"', listed)))


def check_multiple(name: str, value: int, multiple: int) -> None:
    """ValueError with the nearest allowed value if `value` is not a multiple of `multiple`."""
    if value % multiple:
        nearest = max(multiple, multiple * round(value / multiple))
        raise ValueError(f"{name} must be a multiple of {multiple}, got {value}; the nearest is {nearest}")


def _check_choice(name: str, value: object, allowed: list[str]) -> None:
    if value not in allowed:
        nearest = difflib.get_close_matches(str(value), allowed, n=1, cutoff=0.0)[0]
        listed = f" of {', '.join(allowed)}" if len(allowed) < 10 else ""
        raise ValueError(f"{name}: unknown {value!r}, the nearest{listed} is {nearest}")

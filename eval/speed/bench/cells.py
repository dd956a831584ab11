"""Cells of the speed bench: one shape with one attention implementation, in which all methods are timed in turn."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from eval.checks import check_integer
from eval.generation.models.config import ARCHITECTURES
from eval.generation.sampler import ATTENTIONS, DTYPES

LEVELS = ("site", "denoiser", "pipeline")
TINY = "tiny"
MODELS = (*ARCHITECTURES, TINY)
MODES = ("eager", "default", "reduce-overhead", "max-autotune")
AXES = ("attention", "mode", "dtype", "batch", "ratio")
NAMED = {"site": ("shapes",), "denoiser": ("models", "pixels"), "pipeline": ("models", "pixels", "steps")}
SHARED = ("level", "methods", "rounds", "warmup", *AXES)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One configuration to measure.

    Attributes:
        level: "site" (one self-attention), "denoiser" (one call of it) or "pipeline" (complete images).
        model, pixels, steps: of a denoiser or pipeline.
        tokens, channels, heads: of a site; the tokens are a square grid.
        attention: "sdpa" or "naive". mode: "eager", or the mode of torch.compile.
        batch: rows of the attention or denoiser call; images of a pipeline call. ratio: passed to every method.
        methods: names, timed in turn. rounds: calls of each. warmup: calls of each before the first round.
    """

    level: str
    methods: tuple[str, ...]
    rounds: int
    warmup: int = 2
    attention: str = "sdpa"
    mode: str = "eager"
    dtype: str = "float32"
    batch: int = 2
    ratio: float = 0.5
    device: str = "cpu"
    model: str | None = None
    pixels: int | None = None
    steps: int | None = None
    tokens: int | None = None
    channels: int | None = None
    heads: int | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("level", LEVELS), ("attention", ATTENTIONS), ("mode", MODES), ("dtype", tuple(DTYPES))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        for name in ("rounds", "batch", "pixels", "steps", "tokens", "channels", "heads"):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name), 1)
        check_integer("warmup", self.warmup, 0)
        if not self.methods:
            raise ValueError("methods must name at least one method, got none")
        if len(set(self.methods)) < len(self.methods):
            raise ValueError(f"methods must name each method once, got {', '.join(self.methods)}")
        if self.level == "site":
            self._check_site()
        elif self.model not in MODELS:
            raise ValueError(f"models must be of {', '.join(MODELS)}, got {self.model!r}")

    def _check_site(self) -> None:
        if math.isqrt(self.tokens) ** 2 != self.tokens:
            raise ValueError(f"tokens must be a square number, since a site's grid is square, got {self.tokens}")
        if self.channels % self.heads:
            raise ValueError(f"channels must be a multiple of heads, got {self.channels} and {self.heads}")

    @property
    def grid(self) -> tuple[int, int]:
        """(H, W) of a site."""
        side = math.isqrt(self.tokens)
        return side, side

    @property
    def title(self) -> str:
        """The cell in words, unique among cells."""
        shape = f"N={self.tokens} C={self.channels} heads={self.heads}"
        where = shape if self.level == "site" else f"{self.model} {self.pixels} px"
        steps = f", {self.steps} steps" if self.steps else ""
        return (
            f"{self.level} {where}{steps}, {self.attention}, {self.mode}, {self.dtype}, batch {self.batch}, "
            f"ratio {self.ratio:g}"
        )


def expand(families: Mapping[str, Mapping[str, Any]], device: str) -> list[Cell]:
    """The cells of all `families`: by name, a level, its shapes and a list for every axis; all combinations are made.

    ValueError: an unknown or missing key, or a value that is not allowed, with the family's name.
    """
    cells = []
    for name, family in families.items():
        try:
            cells += _expand(family, device)
        except ValueError as error:
            raise ValueError(f"cells.{name}: {error}") from error
    return cells


def _expand(family: Mapping[str, Any], device: str) -> list[Cell]:
    if not isinstance(family, Mapping):
        raise ValueError(f"must be a mapping with the keys level, methods, rounds, ..., got {family!r}")
    level = family.get("level")
    if level not in LEVELS:
        raise ValueError(f"level must be one of {', '.join(LEVELS)}, got {level!r}")
    known = (*SHARED, *NAMED[level])
    for key in family:
        if key not in known:
            raise ValueError(f"unknown key {key!r}; allowed are {', '.join(known)}")
    missing = [key for key in ("methods", "rounds", *NAMED[level]) if key not in family]
    if missing:
        raise ValueError(f"{missing[0]} is missing")
    fixed = {key: family[key] for key in ("level", "rounds", "warmup") if key in family}
    methods = tuple(_listed("methods", family["methods"]))
    axes = {key: _listed(key, family[key]) for key in AXES if key in family}
    return [
        Cell(**fixed, **where, **dict(zip(axes, values, strict=True)), methods=methods, device=device)
        for where in _places(level, family)
        for values in itertools.product(*axes.values())
    ]


def _places(level: str, family: Mapping[str, Any]) -> list[dict[str, Any]]:
    if level == "site":
        return [_shape(shape) for shape in _listed("shapes", family["shapes"])]
    pairs = itertools.product(_listed("models", family["models"]), _listed("pixels", family["pixels"]))
    return [{"model": model, "pixels": pixels, "steps": family.get("steps")} for model, pixels in pairs]


def _shape(shape: object) -> dict[str, Any]:
    if not isinstance(shape, list | tuple) or len(shape) != 3:
        raise ValueError(f"shapes must be lists [tokens, channels, heads], got {shape!r}")
    return dict(zip(("tokens", "channels", "heads"), shape, strict=True))


def _listed(name: str, values: object) -> Sequence[Any]:
    if not isinstance(values, list | tuple) or not values:
        raise ValueError(f"{name} must be a list of at least one value, got {values!r}")
    return values

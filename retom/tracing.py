"""Marking what `torch.compile` must not look into."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import torch

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def constant(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Mark a function that `torch.compile` calls while tracing, and whose result is a constant of the graph.

    `torch.compiler.assume_constant_result`, which has no types, as a decorator that keeps those of the function.
    """
    marked = torch.compiler.assume_constant_result(function)
    return cast(Callable[_Arguments, _Result], marked)

"""Marking what `torch.compile` must not look into."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def constant(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Mark a function that `torch.compile` calls while tracing, and whose result is a constant of the graph.

    This is `torch.compiler.assume_constant_result`, which would import the compiler: that takes longer than the rest
    of this package.
    """
    vars(function)["_dynamo_marked_constant"] = True
    return function

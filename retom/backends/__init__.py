"""Backends execute plans: they prepare tensors from a plan once (`prepare`), then merge and unmerge with them."""

import difflib
from typing import Any, Protocol

from torch import Tensor

from retom.backends.gather import GatherBackend
from retom.backends.matmul import MatmulBackend
from retom.backends.triton import TritonBackend


class Backend(Protocol):
    """The interface of a backend; `plan` is a `retom.MergePlan` and `plan.prepared` is what `prepare` returned for it.

    A backend may also have `plan_windows`, which then replaces the planning of `retom.plans.merge_plan`, and `check`,
    which raises a ValueError if the backend cannot run on this machine.
    """

    def prepare(self, plan: Any) -> Any:
        """What the backend needs from the plan, computed once per plan."""

    def merge(self, plan: Any, x: Tensor) -> Tensor:
        """[B, N, C] -> [B, M, C]."""

    def unmerge(self, plan: Any, y: Tensor) -> Tensor:
        """[B, M, C] -> [B, N, C]."""


BACKENDS: dict[str, Backend] = {"gather": GatherBackend(), "matmul": MatmulBackend(), "triton": TritonBackend()}


def check_backend(name: str) -> None:
    """ValueError for an unknown backend, or one that cannot run on this machine."""
    check = getattr(get_backend(name), "check", None)
    if check is not None:
        check()


def get_backend(name: str) -> Backend:
    """The backend of this name; ValueError with the closest name otherwise."""
    if isinstance(name, str) and name in BACKENDS:
        return BACKENDS[name]
    near = difflib.get_close_matches(str(name), BACKENDS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"backend must be one of {', '.join(sorted(BACKENDS))}, got {name!r}{hint}")

"""How a plan is executed. A backend turns a plan into tensors once (`prepare`), then merges and unmerges with them."""

import difflib
from typing import Any, Protocol

from torch import Tensor

from retom.backends.gather import GatherBackend
from retom.backends.matmul import MatmulBackend
from retom.backends.triton import TritonBackend


class Backend(Protocol):
    """What a backend must do; `plan` is a `retom.MergePlan` and `prepared` is what `prepare` returned for it.

    A backend may also have `plan_windows`, which then plans in place of `retom.plan`'s own code, and `check`, which
    says by a ValueError that it cannot run on this machine.
    """

    def prepare(self, plan: Any) -> Any:
        """Whatever the backend needs of the plan, computed once per refresh."""

    def merge(self, plan: Any, x: Tensor) -> Tensor:
        """[B, N, C] -> [B, M, C]."""

    def unmerge(self, plan: Any, y: Tensor) -> Tensor:
        """[B, M, C] -> [B, N, C]."""


BACKENDS: dict[str, Backend] = {"gather": GatherBackend(), "matmul": MatmulBackend(), "triton": TritonBackend()}


def check_backend(name: str) -> None:
    """ValueError where there is no such backend, or where it cannot run on this machine."""
    check = getattr(get_backend(name), "check", None)
    if check is not None:
        check()


def get_backend(name: str) -> Backend:
    """The backend of that name; ValueError with the nearest name otherwise."""
    if isinstance(name, str) and name in BACKENDS:
        return BACKENDS[name]
    near = difflib.get_close_matches(str(name), BACKENDS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"backend must be one of {', '.join(sorted(BACKENDS))}, got {name!r}{hint}")

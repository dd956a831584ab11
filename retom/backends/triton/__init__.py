"""Fused kernels, CUDA only: planning in one or two launches, merge in one, unmerge in one, no atomics.

Triton is imported when the backend is first used, not by `import retom`. There is no fallback: without
Triton or a CUDA device (or TRITON_INTERPRET=1), for a dtype other than float32, float16 and bfloat16, or if a gradient
is required, it raises a ValueError. Its plans have no `blocks`, so `on("matmul")` makes a dense map of them.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from retom.plans.windows import Region
from retom.rng import Draw

if TYPE_CHECKING:
    from retom.backends.triton.launch import WindowPlan

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_INSTEAD = "choose backend 'gather'"


class TritonIndices(NamedTuple):
    """The tensors of the plan with contiguous rows, as the kernels read them; images may share a row."""

    order: Tensor  # [B, N]
    starts: Tensor  # [B, M]
    weight: Tensor  # [B, N]
    assign: Tensor  # [B, N]


class TritonBackend:
    """See the module's docstring."""

    def check(self) -> None:
        """ValueError if the backend cannot run on this machine: no Triton, or neither CUDA nor the interpreter."""
        if not _launch().INTERPRETED and not torch.cuda.is_available():
            raise ValueError(
                "backend 'triton' needs a CUDA device (or TRITON_INTERPRET=1 set before Triton is imported, which is "
                f"slow and meant for tests), and none is available; {_INSTEAD}"
            )

    def plan_windows(
        self,
        x: Tensor,
        grid: tuple[int, int],
        regions: Sequence[Region],
        removed: Sequence[int],
        alpha: float,
        destination: str,
        source: str,
        draw: Draw,
    ) -> "WindowPlan":
        """The fields of a plan, computed by kernels; see `retom.backends.triton.launch.plan_windows`."""
        _check_tensor(x)
        plan: WindowPlan = _launch().plan_windows(x, grid, regions, removed, alpha, destination, source, draw)
        return plan

    def prepare(self, plan: Any) -> TritonIndices:
        """Computes nothing: kernels read the plan itself."""
        tensors = (plan.order, plan.starts, plan.weight, plan.assign)
        return TritonIndices(*(x if x.stride(1) == 1 or x.shape[1] == 1 else x.contiguous() for x in tensors))

    def merge(self, plan: Any, x: Tensor) -> Tensor:
        """Weighted sum of each slot's tokens, [B, N, C] -> [B, M, C]; x may be strided."""
        _check_tensor(x, differentiable=True)
        index: TritonIndices = plan.prepared
        merged: Tensor = _launch().merge(x, index.order, index.starts, index.weight, plan.mean)
        return merged

    def unmerge(self, plan: Any, y: Tensor) -> Tensor:
        """Each token gets its slot's row, [B, M, C] -> [B, N, C]."""
        _check_tensor(y, differentiable=True)
        unmerged: Tensor = _launch().unmerge(y, plan.prepared.assign)
        return unmerged


def _launch() -> ModuleType:
    try:
        from retom.backends.triton import launch
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "triton":
            raise
        raise ValueError(f"backend 'triton' needs the package triton, which is not installed; {_INSTEAD}") from error
    return launch


def _check_tensor(x: Tensor, differentiable: bool = False) -> None:
    """ValueError for a tensor that the kernels do not support, or whose gradient they would drop."""
    if x.device.type != "cuda" and not (x.device.type == "cpu" and _launch().INTERPRETED):
        raise ValueError(
            "backend 'triton' runs on CUDA tensors (or on CPU ones if TRITON_INTERPRET=1 is set before Triton is "
            f"imported), got a tensor on {x.device}; {_INSTEAD}"
        )
    if x.dtype not in _DTYPES:
        raise ValueError(f"backend 'triton' takes float32, float16 or bfloat16, got {x.dtype}; {_INSTEAD}")
    if differentiable and x.requires_grad and torch.is_grad_enabled():
        raise ValueError("backend 'triton' has no gradient; call the model under torch.no_grad() or " + _INSTEAD)

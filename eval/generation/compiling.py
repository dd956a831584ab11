"""Compilation of a module: `torch.compile`, the options for CUDA graphs, and no silent fallback to eager."""

import torch
from torch import nn

# All modules of one class share torch's limit of graphs (8). Beyond it they run uncompiled with a warning. Methods
# timed side by side need three or four graphs each. Beyond this limit the call fails.
GRAPHS = 64

_CUDA_GRAPHS = ("reduce-overhead", "max-autotune")
_CLONING = "triton.cudagraph_trees_generation_cloning"


def compile_in_place(module: nn.Module, mode: str, *, fullgraph: bool = False) -> None:
    """Compile `module` in place in a mode of `torch.compile`; names are unchanged. "eager" does nothing.

    From then on this process allows more graphs per class and fails if that limit is exceeded.
    """
    if mode == "eager":
        return
    from torch._dynamo import config  # imported late: slow

    config.recompile_limit = GRAPHS
    config.fail_on_recompile_limit_hit = True
    module.compile(fullgraph=fullgraph, **arguments(mode))


def arguments(mode: str) -> dict[str, object]:
    """The arguments of `torch.compile` for `mode`.

    Under CUDA graphs a tensor is valid until the next call of the compiled module, but a plan is read in the following
    period - 1 calls. Torch 2.15 (not 2.11) has an option that copies tensors that are still referenced out of the
    graph's memory. Without that option the mode is unchanged, and callers must copy such tensors: see `overwrites`.
    """
    if mode not in _CUDA_GRAPHS or not _can_clone():
        return {"mode": mode}
    return {"options": {**torch._inductor.list_mode_options(mode), _CLONING: "user_visible"}}


def overwrites(mode: str) -> bool:
    """Whether a call of a module compiled in `mode` overwrites tensors returned by the previous call."""
    return mode in _CUDA_GRAPHS and not _can_clone()


def _can_clone() -> bool:
    return _CLONING in torch._inductor.list_options()

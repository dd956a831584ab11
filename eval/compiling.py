"""How a module is compiled: `torch.compile`, what CUDA graphs need beside it, and no silent return to eager."""

import torch
from torch import nn

# All modules of one class share torch's limit of graphs (8), and beyond it they run uncompiled with a warning. Methods
# side by side need three or four graphs each; beyond this limit the call fails.
GRAPHS = 64

_CUDA_GRAPHS = ("reduce-overhead", "max-autotune")
_CLONING = "triton.cudagraph_trees_generation_cloning"


def compile_in_place(module: nn.Module, mode: str, *, fullgraph: bool = False) -> None:
    """Compile `module` in a mode of `torch.compile`, names of modules and parameters staying; "eager" leaves it alone.

    From then on this process allows more graphs of one class, and fails where even they do not suffice.
    """
    if mode == "eager":
        return
    from torch._dynamo import config  # only here: the import takes seconds

    config.recompile_limit = GRAPHS
    config.fail_on_recompile_limit_hit = True
    module.compile(fullgraph=fullgraph, **arguments(mode))


def arguments(mode: str) -> dict[str, object]:
    """The arguments of `torch.compile` for `mode`.

    Under CUDA graphs a tensor lives until the next call of the compiled module, but a plan is read in the following
    period - 1 calls. Torch (2.15 has it, 2.11 has not) copies what is still held out of the graph's memory when asked
    to; without that option the mode is left as it is, and whoever holds tensors copies them: `overwrites`.
    """
    if mode not in _CUDA_GRAPHS or not _can_clone():
        return {"mode": mode}
    return {"options": {**torch._inductor.list_mode_options(mode), _CLONING: "user_visible"}}


def overwrites(mode: str) -> bool:
    """Whether a call of a module that is compiled in `mode` overwrites tensors that the call before made."""
    return mode in _CUDA_GRAPHS and not _can_clone()


def _can_clone() -> bool:
    return _CLONING in torch._inductor.list_options()

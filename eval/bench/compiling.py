"""How the bench compiles a module: `torch.compile`, and what CUDA graphs need beside it."""

import torch
from torch import nn

_MODE = "reduce-overhead"
_CLONING = "triton.cudagraph_trees_generation_cloning"


def compile_in_place(module: nn.Module, mode: str) -> None:
    """Compile `module` in one of `cells.MODES`; "eager" leaves it alone."""
    if mode != "eager":
        module.compile(**arguments(mode))


def arguments(mode: str) -> dict[str, object]:
    """The arguments of `torch.compile` for `mode`.

    Under CUDA graphs a tensor lives until the next call of the compiled module, but a plan is read in the following
    period - 1 calls. Torch (2.15 has it, 2.11 has not) copies what is still held out of the graph's memory when asked
    to; without that option the mode is left as it is, and torch refuses the read by name.
    """
    if mode != _MODE or _CLONING not in torch._inductor.list_options():
        return {"mode": mode}
    return {"options": {**torch._inductor.list_mode_options(mode), _CLONING: "user_visible"}}

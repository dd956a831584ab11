"""Detects attention processors that read the attention map. Their sites are not merged.

Self-attention guidance, attend-and-excite, prompt-to-prompt and similar methods read the map as an image with one row
per token of the grid, which merged tokens do not have.
"""

import types

from torch import nn

from retom.tracing import constant

_MAPS = {"get_attention_scores", "softmax"}


class MapReader:
    """Checks whether the processor of a module, which may be replaced at any time, reads the attention map."""

    def __init__(self, module: nn.Module):
        self.kind: type | None = type(getattr(module, "processor", None))
        self.reads = computes_map(self.kind)

    def check(self, module: nn.Module) -> bool:
        """Whether the processor computes the map itself and is not one of diffusers' models."""
        kind = type(getattr(module, "processor", None))
        if kind is not self.kind:
            self.kind, self.reads = kind, computes_map(kind)
        return self.reads


@constant
def computes_map(kind: type) -> bool:
    """Whether a processor class reads the attention map. Those of diffusers' models only multiply with it."""
    call = getattr(kind, "__call__", None)  # noqa: B004 - its code is wanted
    if kind.__module__.startswith("diffusers.models.") or not isinstance(call, types.FunctionType):
        return False
    return bool(_MAPS & set(call.__code__.co_names))

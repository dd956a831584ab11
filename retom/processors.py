"""Attention processors that look at the attention map, whose sites are left whole.

Self-attention guidance, attend-and-excite, prompt-to-prompt and their kin read the map as an image, one row for each
token of the grid. With merged tokens it is none.
"""

import types

from torch import nn

from retom.tracing import constant

_MAPS = {"get_attention_scores", "softmax"}


class MapReader:
    """Tells of one module whether its processor, which may be exchanged at any time, reads the attention map."""

    def __init__(self, module: nn.Module):
        self.kind: type | None = type(getattr(module, "processor", None))
        self.reads = computes_map(self.kind)

    def check(self, module: nn.Module) -> bool:
        """Whether the module's processor computes the map itself and is none of diffusers' models."""
        kind = type(getattr(module, "processor", None))
        if kind is not self.kind:
            self.kind, self.reads = kind, computes_map(kind)
        return self.reads


@constant
def computes_map(kind: type) -> bool:
    """Whether a class of processors computes the attention map. Those of diffusers' models only multiply with it."""
    call = getattr(kind, "__call__", None)  # noqa: B004 - its code is wanted
    if kind.__module__.startswith("diffusers.models.") or not isinstance(call, types.FunctionType):
        return False
    return bool(_MAPS & set(call.__code__.co_names))

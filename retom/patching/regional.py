"""Graphs of blocks that are compiled one by one (`compile_repeated_blocks`), and torch's limit on them."""

import warnings
from collections.abc import Iterable

import torch
from torch import nn


def check_graphs(blocks: Iterable[nn.Module]) -> bool:
    """Warn if blocks that are compiled one by one have reached torch's limit of graphs. Returns whether they have.

    All blocks of a class share the limit (8 by default). Beyond it they run uncompiled. Merging takes two graphs, one
    that makes a plan and one that reuses it, for each grid, and for each layer type if windows differ.
    """
    kinds = {type(block): block for block in blocks if block._compiled_call_impl is not None}
    if not kinds:
        return False
    from torch._C._dynamo.eval_frame import _debug_get_cache_entry_list

    limit = torch._dynamo.config.recompile_limit
    full = [kind for kind in kinds if len(_debug_get_cache_entry_list(kind.forward.__code__)) >= limit]
    for kind in full:
        warnings.warn(
            f"the compiled {kind.__name__}s have reached torch's limit of {limit} graphs, beyond which they run "
            "uncompiled: merging needs two graphs (making a plan and reusing it) for every grid, and for every layer "
            f"type where windows differ; set torch._dynamo.config.recompile_limit = {4 * limit} before the first call",
            stacklevel=2,
        )
    return bool(full)

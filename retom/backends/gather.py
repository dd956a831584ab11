"""Execution by indices: merge is one weighted embedding bag over the tokens, unmerge one row lookup.

Both read and write each row once. The tokens of a slot are summed in the order of the plan, without atomics, so equal
inputs give bit-identical outputs.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class GatherIndices(NamedTuple):
    """Row numbers over a flattened batch."""

    rows: Tensor  # [B * N] tokens grouped by slot
    starts: Tensor  # [B * M] start of each slot in `rows`
    weight: Tensor  # [B * N] weight of each entry of `rows`
    sizes: Tensor | None  # [B * M, 1] tokens per slot, for a plain mean
    slots: Tensor  # [B * N] slot of each token


class GatherBackend:
    """See the module's docstring."""

    def prepare(self, plan: Any) -> GatherIndices:
        """Flatten the plan over the batch."""
        batch, num_tokens = plan.assign.shape
        image = torch.arange(batch, device=plan.assign.device)[:, None]
        order, starts = plan.order, plan.starts
        sizes = None
        if plan.mean:
            ends = torch.cat([starts[:, 1:], torch.full_like(starts[:, :1], num_tokens)], dim=1)
            sizes = (ends - starts).reshape(-1, 1)
        return GatherIndices(
            rows=(order + image * num_tokens).reshape(-1),
            starts=(starts + image * num_tokens).reshape(-1),
            weight=plan.weight.gather(1, order).reshape(-1),
            sizes=sizes,
            slots=(plan.assign + image * plan.num_merged).reshape(-1),
        )

    def merge(self, plan: Any, x: Tensor) -> Tensor:
        """Weighted sum of each slot's tokens, [B, N, C] -> [B, M, C]."""
        batch, _, channels = x.shape
        index: GatherIndices = plan.prepared
        flat = x.reshape(-1, channels)
        if index.sizes is None or x.dtype != torch.float32:  # a sum in half precision may overflow, a mean does not
            merged = F.embedding_bag(
                index.rows, flat, index.starts, mode="sum", per_sample_weights=index.weight.to(x.dtype)
            )
        else:
            # A sum and one division, as in scatter_reduce(reduce="mean"), to match other packages bit for bit.
            merged = F.embedding_bag(index.rows, flat, index.starts, mode="sum") / index.sizes
        return merged.view(batch, plan.num_merged, channels)

    def unmerge(self, plan: Any, y: Tensor) -> Tensor:
        """Each token gets its slot's row, [B, M, C] -> [B, N, C]."""
        batch, _, channels = y.shape
        return y.reshape(-1, channels).index_select(0, plan.prepared.slots).view(batch, -1, channels)

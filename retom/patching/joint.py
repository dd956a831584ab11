"""Merging in joint attention over text and image tokens: SD 3, SD 3.5 (arXiv 2403.03206) and Flux.

Image tokens are merged. Text tokens pass through unchanged. With rotary positions (Flux), a merged token has the
position of its destination.
"""

from typing import Any

import torch
from torch import Tensor, nn

from retom.patching.hooks import MergeHook
from retom.plans.base import Plan


class JointMergeHook(MergeHook):
    """On a joint attention: merge the image tokens, run it, unmerge its output for the image tokens."""

    def call(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Run the attention on all text tokens and the merged image tokens."""
        forward = self.under
        if self._runs_on_all_tokens(module, args, kwargs):
            return forward(*args, **kwargs)
        x = args[0] if args else kwargs["hidden_states"]
        text = self._text_length(x)
        image = x[:, text:]  # [B, N, C]
        if self.plans:
            self.patch.plan_for(self._measured(module, image))
        plan = self.patch.plan
        if plan is None or plan.is_identity:
            return forward(*args, **kwargs)
        self._check(args, kwargs)
        self.patch.run_merged(self.target)
        if kwargs.get("image_rotary_emb") is not None:
            kwargs = {**kwargs, "image_rotary_emb": self._destination_rows(kwargs["image_rotary_emb"], plan)}
        merged = torch.cat([x[:, :text], plan.merge(image)], dim=1) if text else plan.merge(image)
        out = forward(merged, *args[1:], **kwargs) if args else forward(**{**kwargs, "hidden_states": merged})
        return self._unmerge(out, plan, text)

    def _text_length(self, x: Tensor) -> int:
        """Text tokens at the front of x [B, T + N, C]; 0 if the text is a separate argument."""
        if not self.patch.site.text_first:
            return 0
        height, width = self.patch.grid.known
        return x.shape[1] - height * width

    def _unmerge(self, out: Tensor | tuple[Tensor, ...], plan: Plan, text: int) -> Tensor | tuple[Tensor, ...]:
        """Unmerge the image part of what the attention returned.

        A tuple is (image, text), or (image, text, image prompt) with an IP-Adapter, whose queries are the image tokens.
        """
        if isinstance(out, tuple):
            return tuple(part if place == 1 else plan.unmerge(part) for place, part in enumerate(out))
        if not text:
            return plan.unmerge(out)
        return torch.cat([out[:, :text], plan.unmerge(out[:, text:])], dim=1)

    def _destination_rows(self, tables: tuple[Tensor, Tensor], plan: Plan) -> tuple[Tensor, ...]:
        """Select the text and the destinations from cosines and sines [T + N, D], text first: [T + M, D]."""
        destinations = plan.dst_index
        # The strides of an expanded index show that all rows are equal. Comparing values would wait for a GPU.
        if destinations.shape[0] > 1 and destinations.stride(0) != 0:
            raise ValueError(
                f"{self.patch.site.name} is called with {destinations.shape[0]} images whose destinations differ, but "
                "Flux has one position table for the whole batch; generate one image per call (batch_size=1), or use a "
                "method whose dst_index is expanded from one row"
            )
        height, width = self.patch.grid.known
        text = tables[0].shape[0] - height * width
        return tuple(
            torch.cat([table[:text], table[text:].index_select(0, destinations[0].to(table.device))])
            for table in tables
        )

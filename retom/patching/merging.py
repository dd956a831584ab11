"""The hook that merges the tokens of a sub-layer, runs it and unmerges its output.

Image tokens are merged. Text tokens that an attention joins with them pass through unchanged.
"""

from typing import Any

import torch
from torch import Tensor, nn

from retom.families import Sublayer
from retom.patching.arguments import Arguments
from retom.patching.processors import MapReader
from retom.patching.registry import Hook
from retom.patching.rotary import (
    Turns,
    check_processor,
    check_tables,
    check_turned,
    rows_by_norm,
    share_destinations,
    shared_rows,
)
from retom.patching.site_state import SitePatch
from retom.plans.base import Plan

_Output = Tensor | tuple[Tensor, ...]


class MergeHook(Hook):
    """On a sub-layer: merge its image tokens, run it, unmerge its output."""

    def __init__(self, patch: SitePatch, target: str, sublayer: Sublayer, plans: bool):
        super().__init__()
        self.patch = patch
        self.target = target
        self.sublayer = sublayer
        self.plans = plans
        self.turns = Turns()

    def initialize_hook(self, module: nn.Module) -> nn.Module:
        """Find the arguments of the sub-layer."""
        self.arguments = Arguments(module)
        self.map_reader = MapReader(module)
        return module

    def call(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Run the sub-layer on merged image tokens and all text tokens."""
        if self.sublayer.positions is not None:
            self.turns.due.clear()  # of a call that ended with an exception
        if self._runs_on_all_tokens(module, args, kwargs):
            return self.under(*args, **kwargs)
        x = self.arguments.get(self.sublayer.tokens, args, kwargs)
        text = self._text_length(x)
        image = x[:, text:] if text else x  # [B, N, C]
        self._check_settings(module)
        if self.plans:
            self.patch.plan_for(self._measured(module, image))
        plan = self.patch.plan
        if plan is None or plan.is_identity:
            return self.under(*args, **kwargs)
        self._check(args, kwargs)
        self.patch.run_merged(self.target)
        if self.target == "self_kv":
            return self.under(**{**self.arguments.named(args, kwargs), "encoder_hidden_states": plan.merge(x)})
        kwargs = self._positioned(module, plan, kwargs)
        out = self._run(plan, text, args, kwargs)
        check_turned(self.turns, plan.batch, self.patch.site.name)
        return self._unmerged(out, plan, text)

    def _text_length(self, x: Tensor) -> int:
        """Text tokens at the front of x [B, T + N, C]."""
        return x.shape[1] - self._tokens() if self.sublayer.text == "before" else 0

    def _tokens(self) -> int:
        height, width = self.patch.grid.known
        return height * width

    def _run(self, plan: Plan, text: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Output:
        """Run the sub-layer on merged tokens, which are freed before unmerging allocates memory."""
        name, forward = self.sublayer.tokens, self.under
        if name in kwargs:
            output: _Output = forward(*args, **{**kwargs, name: _merged(kwargs[name], plan, text)})
        else:
            place = self.arguments.places[name]
            output = forward(*args[:place], _merged(args[place], plan, text), *args[place + 1 :], **kwargs)
        return output

    @staticmethod
    def _unmerged(out: _Output, plan: Plan, text: int) -> _Output:
        """Unmerge the image part of what the sub-layer returned.

        A tuple is (image, text), or (image, text, image prompt) with an IP-Adapter, whose queries are the image tokens.
        """
        if isinstance(out, tuple):
            return tuple(part if place == 1 else plan.unmerge(part) for place, part in enumerate(out))
        return torch.cat([out[:, :text], plan.unmerge(out[:, text:])], dim=1) if text else plan.unmerge(out)

    def _positioned(self, module: nn.Module, plan: Plan, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments with the positions of the destinations; see `retom.patching.rotary`."""
        positions, name = self.sublayer.positions, self.patch.site.name
        tables = None if positions is None else kwargs.get(positions.argument)
        if positions is None or tables is None:
            return kwargs
        check_tables(tables, self._tokens(), name)
        if share_destinations(plan):
            return {**kwargs, positions.argument: shared_rows(tables, plan, self._tokens())}
        check_processor(module, positions, plan.batch, name)
        beside = self.sublayer.text == "beside"
        self.turns.due.update(rows_by_norm(tables, plan, self._tokens(), positions, beside=beside))
        return {**kwargs, positions.argument: None}

    def _measured(self, module: Any, x: Tensor) -> Tensor:
        """What the method measures similarity on: the input of the attention or its keys."""
        measured: Tensor = module.to_k(x) if self.patch.method.metric == "keys" else x
        return measured

    def _runs_on_all_tokens(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether this call needs all tokens, because of its processor or of the keys that it receives."""
        if self.map_reader.check(module):
            kind = type(module.processor).__name__
            self.patch.skip(self.target, f"its {kind} reads the attention map, which has one row per token")
            return True
        given = self.target == "self_kv" and self.arguments.get("encoder_hidden_states", args, kwargs) is not None
        if given:
            why = "it receives its own keys (encoder_hidden_states), which targets=('self_kv',) would replace"
            self.patch.skip(self.target, why)
        return given

    def _check_settings(self, module: nn.Module) -> None:
        """ValueError if the settings of the module do not work with merged tokens."""
        name = self.patch.site.name
        if self.target == "self_kv" and getattr(module, "fused_projections", False):
            raise ValueError(
                f"the projections of {name} are fused, but targets=('self_kv',) needs a separate one for keys; call "
                "unfuse_qkv_projections(), or use targets=('self',)"
            )
        if self.target == "ff" and getattr(self.patch.site.block, "_chunk_size", None):
            raise ValueError(
                f"the feed-forward of {name} runs in chunks, which does not work with merged tokens; call "
                "set_chunk_feed_forward(None), or remove 'ff' from targets"
            )

    def _check(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """ValueError for masks, which do not match merged tokens."""
        name, mask = self.patch.site.name, self.sublayer.mask
        if mask is not None and self.arguments.get(mask, args, kwargs) is not None:
            raise ValueError(
                f"{mask} is passed to the self-attention of {name}, but a mask does not match merged tokens; "
                "call the model without a mask, or call retom.remove_patch first"
            )
        if self.target == "cross" and kwargs.get("ip_adapter_masks") is not None:
            raise ValueError(
                f"ip_adapter_masks are passed to the cross-attention of {name}, whose queries are merged; "
                "remove 'cross' from targets"
            )


def _merged(x: Tensor, plan: Plan, text: int) -> Tensor:
    """Merge the image tokens of x [B, T + N, C]."""
    return torch.cat([x[:, :text], plan.merge(x[:, text:])], dim=1) if text else plan.merge(x)

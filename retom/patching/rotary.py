"""Rotary positions of merged tokens: each has the position of its destination.

An attention gets one table of positions for all images of a call. If their destinations differ, its queries and keys
are rotated where they are normalised, each image with its own rows, and the attention gets no table. The result is that
of the table, bit for bit, where destinations are equal.
"""

import threading
from typing import Any

import torch
from torch import Tensor, nn

from retom.families import Positions
from retom.patching.registry import Hook
from retom.plans.base import Plan

Tables = tuple[Tensor, Tensor]  # cosines and sines


class Turns:
    """The tables of the current call of one attention, by the norm that rotates with them, for each thread."""

    def __init__(self) -> None:
        self._local = _TurnsOfThread()

    @property
    def due(self) -> dict[str, Tables]:
        """By name of a norm that has yet to run in this call."""
        return self._local.due

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Turns.__init__(self)


class TurnHook(Hook):
    """On a norm of queries or keys: rotates its output [B, S, heads, D] if tables are due."""

    def __init__(self, turns: Turns, name: str):
        super().__init__()
        self.turns = turns
        self.name = name

    def post_forward(self, module: nn.Module, output: Any) -> Any:
        """Rotate once per call of the attention."""
        tables = self.turns.due.pop(self.name, None)
        return output if tables is None else _rotated(output, *tables)


def share_destinations(plan: Plan) -> bool:
    """Whether all images of a plan have the same destinations.

    The strides of an expanded index show it. Comparing values would wait for a GPU.
    """
    return plan.dst_index.shape[0] == 1 or plan.dst_index.stride(0) == 0


def shared_rows(tables: Tables, plan: Plan, tokens: int) -> Tables:
    """Select the text and the destinations from tables [T + N, D], text first: [T + M, D], for all images."""
    text = tables[0].shape[0] - tokens
    destinations = plan.dst_index[0]
    cosines, sines = (
        torch.cat([table[:text], table[text:].index_select(0, destinations.to(table.device))]) for table in tables
    )
    return cosines, sines


def rows_by_norm(tables: Tables, plan: Plan, tokens: int, positions: Positions, *, beside: bool) -> dict[str, Tables]:
    """The tables of every norm, [B, S, 1, D], from tables [T + N, D], text first.

    beside: whether text has norms of its own; otherwise it is before the image in one sequence.
    """
    text = tables[0].shape[0] - tokens
    destinations = plan.dst_index
    texts = [table[None, :text, None].expand(destinations.shape[0], -1, -1, -1) for table in tables]
    images = [table[text:][destinations.to(table.device)][:, :, None] for table in tables]
    if not beside:
        images = [torch.cat(pair, dim=1) for pair in zip(texts, images, strict=True)]
    found = dict.fromkeys(positions.image_norms, (images[0], images[1]))
    return found | (dict.fromkeys(positions.text_norms, (texts[0], texts[1])) if beside else {})


def check_tables(tables: Any, tokens: int, name: str) -> None:
    """ValueError unless there are two tables [T + N, D].

    A table for every image would be taken by some models and rotate another axis without an error.
    """
    shapes = [list(table.shape) for table in tables] if isinstance(tables, tuple | list) else []
    if len(shapes) != 2 or any(len(shape) != 2 or shape[0] < tokens for shape in shapes):
        raise ValueError(
            f"{name} gets rotary positions of shape {shapes or type(tables).__name__}; merging needs cosines and sines "
            f"[T + N, D] with the N = {tokens} image tokens last, shared by all images; call retom.remove_patch first"
        )


def check_processor(attention: Any, positions: Positions, images: int, name: str) -> None:
    """ValueError if it is unknown where the processor of the attention rotates."""
    kind = type(getattr(attention, "processor", None)).__name__
    if kind not in positions.processors:
        raise _refused(name, images, f"its {kind} is none of {', '.join(positions.processors)}")


def check_turned(turns: Turns, images: int, name: str) -> None:
    """ValueError if the attention did not run a norm that should have rotated, so that its result is wrong."""
    if turns.due:
        left = ", ".join(turns.due)
        turns.due.clear()
        raise _refused(name, images, f"its {left} did not run")


def _refused(name: str, images: int, why: str) -> ValueError:
    return ValueError(
        f"{name} is called with {images} images whose destinations differ, and its attention cannot rotate each with "
        f"its own positions ({why}); generate one image per call (batch_size=1), or use a method whose dst_index is "
        "expanded from one row"
    )


def _rotated(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Rotate interleaved pairs of channels of x [B, S, heads, D], in float32 as diffusers does."""
    real, imaginary = x.unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack([-imaginary, real], dim=-1).flatten(3)
    return (x.float() * cosines.to(x.device) + turned.float() * sines.to(x.device)).to(x.dtype)


class _TurnsOfThread(threading.local):
    """Python calls `__init__` in every thread that accesses it."""

    def __init__(self) -> None:
        self.due: dict[str, Tables] = {}

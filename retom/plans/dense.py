"""Dense plans: merge and unmerge as two arbitrary linear maps, for methods that spread a token over slots (ToMA).

A dense plan has the interface of `retom.MergePlan`. If tokens are mixed only within windows, the maps are
block-diagonal and only the blocks are stored: N / n times fewer numbers for windows of n tokens.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from retom.backends import get_backend
from retom.plans.base import Plan


@dataclass(frozen=True, eq=False, repr=False)
class DensePlan(Plan):
    """Two linear maps. Plain data; rows of a batch are independent.

    Unlike in a `MergePlan`, tokens that share a slot may get different outputs. The plan consists of matrix products,
    so it runs the same way on every backend.

    Attributes:
        blocks: pairs (merge [B, windows, m, n], unmerge [B, windows, n, m]) for windows of equal size; slots are
            numbered window by window.
        dst_index: the token whose position each slot has, [B, M] int64.
        order: tokens window by window, [N] int64; None if they already come in that order.
        place: the position of each token in `order`, [N]; computed from `order` if not given.

    Raises:
        ValueError: if the shapes do not fit together.
    """

    blocks: tuple[tuple[Tensor, Tensor], ...]
    dst_index: Tensor
    order: Tensor | None = None
    place: Tensor | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        slots = 0
        for merge, unmerge in self.blocks:
            if not (isinstance(merge, Tensor) and isinstance(unmerge, Tensor)):
                raise ValueError(
                    f"blocks must be pairs of tensors, got {type(merge).__name__}, {type(unmerge).__name__}"
                )
            if merge.ndim != 4 or unmerge.shape != merge.transpose(2, 3).shape:
                raise ValueError(
                    "blocks must be pairs of merge [B, windows, m, n] and unmerge [B, windows, n, m], "
                    f"got {list(merge.shape)} and {list(unmerge.shape)}"
                )
            slots += merge.shape[1] * merge.shape[2]
        if not isinstance(self.dst_index, Tensor) or self.dst_index.dtype != torch.int64:
            got = getattr(self.dst_index, "dtype", type(self.dst_index).__name__)
            raise ValueError(f"dst_index must be a tensor of torch.int64, got {got}")
        if self.dst_index.ndim != 2 or self.dst_index.shape[1] != slots:
            raise ValueError(f"dst_index must be [B, {slots}], one token per slot, got {list(self.dst_index.shape)}")
        if self.order is not None and self.order.shape != (self.num_tokens,):
            raise ValueError(f"order must be [{self.num_tokens}], got {list(self.order.shape)}")
        if self.order is not None and self.place is None:
            object.__setattr__(self, "place", self.order.argsort())

    def check(self) -> None:
        """ValueError if the contents of the plan are invalid. They are copied to the host, which waits for a GPU."""
        index = self.dst_index.cpu()
        if ((index < 0) | (index >= self.num_tokens)).any():
            raise ValueError(
                f"dst_index must be in [0, {self.num_tokens}), got {int(index.min())} to {int(index.max())}"
            )
        if not all(matrix.isfinite().all() for pair in self.blocks for matrix in pair):
            raise ValueError("blocks must be finite, got nan or inf")

    @classmethod
    def whole(cls, merge: Tensor, unmerge: Tensor, dst_index: Tensor) -> "DensePlan":
        """A plan without windows from merge [B, M, N], unmerge [B, N, M] and dst_index [B, M]."""
        return cls(((merge[:, None], unmerge[:, None]),), dst_index)

    @property
    def num_merged(self) -> int:
        """Slots, M."""
        return self.dst_index.shape[1]

    @property
    def num_tokens(self) -> int:
        """Tokens, N."""
        return sum(merge.shape[1] * merge.shape[3] for merge, _ in self.blocks)

    def parts(self) -> tuple[Any, ...]:
        """The values of all fields, in order."""
        return tuple(getattr(self, name) for name in _FIELDS)

    def on(self, backend: str) -> "DensePlan":
        """The plan itself; ValueError for an unknown backend."""
        get_backend(backend)
        return self

    def merge(self, x: Tensor) -> Tensor:
        """[B, N, C] -> [B, M, C], for any tensor over the planned tokens."""
        self._check_fit(x, self.num_tokens)
        if self.is_identity:
            return x
        return self._apply(0, x if self.order is None else x[:, self.order])

    def unmerge(self, y: Tensor) -> Tensor:
        """[B, M, C] -> [B, N, C]."""
        self._check_fit(y, self.num_merged)
        if self.is_identity:
            return y
        out = self._apply(1, y)
        return out if self.order is None else out[:, self.place]

    def _apply(self, which: int, x: Tensor) -> Tensor:
        """Apply the merge (0) or unmerge (1) maps to the rows of x, which are ordered window by window."""
        pieces, first = [], 0
        for pair in self.blocks:
            matrix = pair[which]  # [B, windows, p, q]
            rows = matrix.shape[1] * matrix.shape[3]
            part = x[:, first : first + rows].unflatten(1, (matrix.shape[1], matrix.shape[3]))
            pieces.append(torch.matmul(matrix.to(x.dtype), part).flatten(1, 2))
            first += rows
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)


_FIELDS = tuple(field_.name for field_ in dataclasses.fields(DensePlan))

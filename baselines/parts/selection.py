"""A plan that prunes: some tokens are kept, and every other token gets the output of a kept one.

It is a `retom.Plan` and obeys its laws (linear, rows of a batch independent, constant on a cluster). It needs no
weights, sums or backend: merge and unmerge are indexed reads.
"""

import dataclasses
from dataclasses import dataclass

from torch import Tensor

from retom.plans.base import Plan
from retom.plans.checks import check_contents, check_fields


@dataclass(frozen=True, eq=False, repr=False)
class SelectionPlan(Plan):
    """The kept tokens, and the one that represents each token.

    Attributes:
        assign: the slot of each token, [B, N] int64 in [0, M).
        dst_index: the kept token of each slot, [B, M] int64.
        num_merged: number of slots, M.
    """

    assign: Tensor
    dst_index: Tensor
    num_merged: int

    @property
    def num_tokens(self) -> int:
        """Number of tokens, N."""
        return self.assign.shape[1]

    def check(self) -> None:
        """ValueError if the contents of the plan are invalid. They are copied to the host, which waits for a GPU."""
        check_fields(self.assign, None, self.num_merged, self.dst_index)
        check_contents(self.assign, None, self.dst_index, None)

    def parts(self) -> tuple:
        """The values of all fields, in order."""
        return tuple(getattr(self, field.name) for field in dataclasses.fields(self))

    def on(self, backend: str) -> "SelectionPlan":
        """The plan itself, which is the same on every backend."""
        return self

    def merge(self, x: Tensor) -> Tensor:
        """[B, N, C] -> [B, M, C], the kept tokens."""
        self._check_fit(x, self.num_tokens)
        return _rows(x, self.dst_index)

    def unmerge(self, y: Tensor) -> Tensor:
        """[B, M, C] -> [B, N, C], a copy of the value of its slot for every token."""
        self._check_fit(y, self.num_merged)
        return _rows(y, self.assign)


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """The rows `index` [B, n] of x [B, _, C]."""
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))

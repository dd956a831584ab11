"""A plan that prunes: some tokens are kept as they are, every other one gets the output of a kept one.

It has the face of `retom.MergePlan` and obeys its laws (linear, rows of a batch independent, constant on a cluster),
but needs no weights and no sums, so no backend: it is two indexed reads.
"""

import dataclasses
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class SelectionPlan:
    """Which tokens are kept and which of them stands for each token.

    Attributes:
        assign: the slot of each token, [B, N] int64 in [0, M).
        dst_index: the token each slot keeps, [B, M] int64.
        num_merged: slots, M.
    """

    assign: Tensor
    dst_index: Tensor
    num_merged: int

    @property
    def is_identity(self) -> bool:
        """Whether nothing is pruned."""
        return self.num_merged == self.assign.shape[1]

    def parts(self) -> tuple:
        """The values of all fields in their order, so that `SelectionPlan(*plan.parts())` is the same plan."""
        return tuple(getattr(self, field.name) for field in dataclasses.fields(self))

    def on(self, backend: str) -> "SelectionPlan":
        """The plan itself: every backend would do the same."""
        return self

    def merge(self, x: Tensor) -> Tensor:
        """[B, N, C] -> [B, M, C], the kept tokens."""
        return self._rows(x, self.assign.shape[1], self.dst_index)

    def unmerge(self, y: Tensor) -> Tensor:
        """[B, M, C] -> [B, N, C], a copy of its slot's value for every token."""
        return self._rows(y, self.num_merged, self.assign)

    @staticmethod
    def _rows(x: Tensor, rows: int, index: Tensor) -> Tensor:
        """The rows `index` of x, which must have `rows` of them for each image of the plan."""
        if x.ndim != 3 or x.shape[:2] != (index.shape[0], rows):
            raise ValueError(f"the plan is for tensors of shape [{index.shape[0]}, {rows}, C], got {list(x.shape)}")
        return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))

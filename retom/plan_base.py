"""What every plan can do, whichever way it is kept."""

import abc
from typing import TYPE_CHECKING, Any

from torch import Tensor


class Plan(abc.ABC):
    """Which token goes where: plain frozen data, and the two maps made of it. Rows of a batch are independent.

    A plan is never executed on tokens of another batch or number than it was made for.

    Attributes:
        dst_index: the token whose place each slot keeps, [B, M] int64.
        num_merged: slots, M.
    """

    dst_index: Tensor

    if TYPE_CHECKING:  # a field in some plans, computed in others

        @property
        def num_merged(self) -> int: ...

    @property
    @abc.abstractmethod
    def num_tokens(self) -> int:
        """Tokens, N."""

    @abc.abstractmethod
    def merge(self, x: Tensor) -> Tensor:
        """[B, N, C] -> [B, M, C], for any tensor over the planned tokens."""

    @abc.abstractmethod
    def unmerge(self, y: Tensor) -> Tensor:
        """[B, M, C] -> [B, N, C]."""

    @abc.abstractmethod
    def parts(self) -> tuple[Any, ...]:
        """The values of all fields in their order, so that `type(plan)(*plan.parts())` is the same plan.

        What is kept between calls of a compiled model must be plain: torch.compile cannot store a frozen dataclass.
        """

    @abc.abstractmethod
    def on(self, backend: str) -> "Plan":
        """The same plan on another backend."""

    @abc.abstractmethod
    def check(self) -> None:
        """ValueError where the plan's contents cannot be right. They are copied to the host: a GPU is waited for."""

    @property
    def batch(self) -> int:
        """Rows, B."""
        return self.dst_index.shape[0]

    @property
    def is_identity(self) -> bool:
        """Whether there are as many slots as tokens; tensors then pass through untouched."""
        return self.num_merged == self.num_tokens

    def __repr__(self) -> str:
        kind, tokens = type(self).__name__, f"{self.batch} x {self.num_tokens} tokens"
        return f"{kind}({tokens} -> {self.num_merged} slots, {self.dst_index.device})"

    def _check_fit(self, x: Tensor, rows: int) -> None:
        """ValueError for a tensor that is not [B, rows, C]."""
        if x.ndim != 3 or x.shape[0] != self.batch or x.shape[1] != rows:
            raise ValueError(f"the plan is for tensors of shape [{self.batch}, {rows}, C], got {list(x.shape)}")

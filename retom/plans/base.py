"""The interface of all plans."""

import abc
from typing import TYPE_CHECKING, Any

from torch import Tensor


class Plan(abc.ABC):
    """The slots of all tokens as plain frozen data, and the maps merge and unmerge. Rows of a batch are independent.

    A plan applies only to the batch size and the number of tokens that it was made for.

    Attributes:
        dst_index: the token whose position each slot has, [B, M] int64.
        num_merged: number of slots, M.
    """

    dst_index: Tensor

    if TYPE_CHECKING:  # a field in some plans, computed in others

        @property
        def num_merged(self) -> int: ...

    @property
    @abc.abstractmethod
    def num_tokens(self) -> int:
        """Number of tokens, N."""

    @abc.abstractmethod
    def merge(self, x: Tensor) -> Tensor:
        """[B, N, C] -> [B, M, C], for any tensor over the planned tokens."""

    @abc.abstractmethod
    def unmerge(self, y: Tensor) -> Tensor:
        """[B, M, C] -> [B, N, C]."""

    @abc.abstractmethod
    def parts(self) -> tuple[Any, ...]:
        """The values of all fields, in order, so that `type(plan)(*plan.parts())` is the same plan.

        Plans are stored in this form between calls of a compiled model: torch.compile cannot store a frozen dataclass.
        """

    @abc.abstractmethod
    def on(self, backend: str) -> "Plan":
        """The same plan on another backend."""

    @abc.abstractmethod
    def check(self) -> None:
        """ValueError if the contents of the plan are invalid. They are copied to the host, which waits for a GPU."""

    @property
    def batch(self) -> int:
        """Number of rows, B."""
        return self.dst_index.shape[0]

    @property
    def is_identity(self) -> bool:
        """Whether there are as many slots as tokens. Tensors then pass through unchanged."""
        return self.num_merged == self.num_tokens

    def __repr__(self) -> str:
        kind, tokens = type(self).__name__, f"{self.batch} x {self.num_tokens} tokens"
        return f"{kind}({tokens} -> {self.num_merged} slots, {self.dst_index.device})"

    def _check_fit(self, x: Tensor, rows: int) -> None:
        """ValueError unless x is [B, rows, C]."""
        if x.ndim != 3 or x.shape[0] != self.batch or x.shape[1] != rows:
            raise ValueError(f"the plan is for tensors of shape [{self.batch}, {rows}, C], got {list(x.shape)}")

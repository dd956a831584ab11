"""One run cut into parts that separate processes draw, on one machine or many, and a last job that closes it."""

import dataclasses
from collections.abc import Iterable, Sequence

from eval.checks import check_integer
from eval.errors import RunError
from eval.generate import shard
from eval.prompts import PromptItem

CLOSE = "close"


@dataclasses.dataclass(frozen=True)
class Shard:
    """What one job does of its run.

    count: into how many parts the images are cut. index: the part that this job draws, from 0; None draws all of them;
    "close" draws none: that job checks that every image is there, times, scores and writes the record.
    ValueError: another index, or none although the run is cut.
    """

    count: int = 1
    index: int | str | None = None

    def __post_init__(self) -> None:
        check_integer("shard.count", self.count, 1)
        if self.index == CLOSE or (self.index is None and self.count == 1):
            return
        if not (_is_whole(self.index) and 0 <= self.index < self.count):
            raise ValueError(
                f"shard.index must be in [0, {self.count - 1}] for shard.count={self.count}, or {CLOSE} for the job "
                f"that checks and scores, got {self.index!r}"
            )

    @property
    def is_part(self) -> bool:
        """Whether this job draws one part of several and leaves the record to the job that closes the run."""
        return self.count > 1 and not self.closes

    @property
    def closes(self) -> bool:
        """Whether this job draws nothing, because others do."""
        return self.index == CLOSE

    @property
    def name(self) -> str:
        """The part's name, "1-of-4" for index 1; only a part has one."""
        return f"{self.index}-of-{self.count}"

    def items(self, items: Sequence[PromptItem], batch_size: int) -> Sequence[PromptItem]:
        """The items that this job draws, cut by batches: the parts together make the batches of one process."""
        if self.closes:
            return []
        return shard(items, self.index, self.count, batch_size) if self.is_part else items

    def require(self, items: Sequence[PromptItem], lacking: Iterable[str], batch_size: int, run: str) -> None:
        """RunError when a file is `lacking` (names): how many images each part lacks, and what to run again."""
        lacking = set(lacking)
        if not lacking:
            return
        parts = {}
        for index in range(self.count):
            gone = [item.file for item in shard(items, index, self.count, batch_size) if item.file in lacking]
            if gone:
                parts[index] = f"shard {index} lacks {len(gone)} (first: {gone[0]})"
        again = f"with shard.count={self.count} shard.index={','.join(map(str, parts))}, then with shard.index={CLOSE}"
        raise RunError(
            f"run {run} cannot be closed, {len(lacking)} of its {len(items)} images are not there: "
            f"{'; '.join(parts.values())}; run it again {again if self.count > 1 else 'without shard.index'}"
        )


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)

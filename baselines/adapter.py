"""The interface of methods that are not a `retom.TokenMerger`: adapters around other packages, and the baseline."""

import abc
from collections.abc import Sequence
from typing import Any

from torch import nn


class Adapter(abc.ABC):
    """A method that patches a pipeline by itself: a frozen dataclass. Its state is stored on the model."""

    def check_model(self, denoiser: nn.Module) -> None:  # noqa: B027 - what does not change the denoiser supports all
        """ValueError for a denoiser that the method does not support. Needs no weights."""

    @abc.abstractmethod
    def apply(self, pipe) -> int:
        """Patch a diffusers pipeline (or its denoiser) and return the number of sites.

        Raises:
            ValueError: for a model that is patched already or that the method does not support.
        """

    @abc.abstractmethod
    def remove(self, pipe) -> None:
        """Remove the patch and restore the class and the `vars` of every module."""

    @abc.abstractmethod
    def set_seeds(self, pipe, seeds: Sequence[int]) -> None:
        """Set the image seeds of the next pipeline call, one per image."""

    @abc.abstractmethod
    def report(self, pipe) -> list[dict[str, Any]]:
        """What each site did since `apply`, with the keys of `retom.report`."""

    def reaches(self, downsample: int) -> bool:
        """Whether the method merges sites whose grid is `downsample` times coarser than the model's top level."""
        return True

    @property
    def merges(self) -> bool:
        """Whether a run with these options must merge tokens; if it merges none, the benchmark fails the run."""
        return getattr(self, "ratio", 1) > 0

    @property
    def batch_limit(self) -> int | None:
        """Images per pipeline call up to which an image depends only on its own seed; None: any number.

        Images that are scored are generated in batches of at most this size. The speed pass may use larger ones.
        """
        return None

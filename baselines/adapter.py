"""What the harness asks of a method that is not a `retom.TokenMerger`: a peer's own package, or nothing at all."""

import abc
from collections.abc import Sequence
from typing import Any

from torch import nn


class Adapter(abc.ABC):
    """A method that patches a pipeline by itself: a frozen dataclass; what it did is kept on the model."""

    def check_model(self, denoiser: nn.Module) -> None:  # noqa: B027 - what touches no denoiser serves all of them
        """ValueError for a denoiser that the method cannot serve: what `apply` refuses, known without weights."""

    @abc.abstractmethod
    def apply(self, pipe) -> int:
        """Patch a diffusers pipeline (or its denoiser) and return the number of sites.

        Raises:
            ValueError: for a model that is patched already or that the method does not know.
        """

    @abc.abstractmethod
    def remove(self, pipe) -> None:
        """Take the patch off; every module's class and `vars` are again what they were."""

    @abc.abstractmethod
    def set_seeds(self, pipe, seeds: Sequence[int]) -> None:
        """Give the image seeds of the next pipeline call, one per image."""

    @abc.abstractmethod
    def report(self, pipe) -> list[dict[str, Any]]:
        """What each site did since `apply`, with the keys of `retom.report`."""

    def reaches(self, downsample: int) -> bool:
        """Whether the method merges at sites whose grid is `downsample` times coarser than the model's top level."""
        return True

    @property
    def merges(self) -> bool:
        """Whether a run with these options must merge something; the harness fails a run that then merges nothing."""
        return getattr(self, "ratio", 1) > 0

    @property
    def batch_limit(self) -> int | None:
        """Images of one pipeline call up to which an image depends on its own seed alone; None where it always does.

        Images that are scored are made in batches of at most this size. The speed pass need not keep to it.
        """
        return None

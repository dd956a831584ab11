"""Methods whose images are generated one a call, because rounding can decide what they merge."""

from retom.method import TokenMerger


class SingleImageMerger(TokenMerger):
    """A method that ranks the tokens or pairs of a whole grid, or multiplies differences of similarity.

    A denoiser rounds differently in another batch, by some 1e-6 in float32. Among the hundreds of similarities that a
    grid ranks, two are often that close at the cut, and another token is merged: docs/methods.md has the measurements.
    """

    @property
    def batch_limit(self) -> int | None:
        """Images of one call up to which an image is a function of its own seed alone; None: any number."""
        return 1 if self.merges else None

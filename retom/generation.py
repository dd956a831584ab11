"""Counting steps: which denoiser call belongs to which generation."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Generation:
    """What is known of the generation under way: its step, whether plans are made anew, the images' seeds.

    A generation ends when the text embeddings are another tensor (a pipeline makes new ones in every call, unless it is
    given embeddings and no guidance), when Flux's position ids are another tensor (its pipelines make new ones always),
    when the latents change shape, when timesteps turn around, or when `retom.reset` is called. Nothing is read from a
    GPU. A pipeline that calls its denoiser with two texts in turn (Flux with true guidance, SD 3 with skipped layers)
    begins a generation with every call, so that plans are always made anew.
    """

    def __init__(self, due: Callable[[int], bool]):
        self.due = due  # whether plans are made anew at a step
        self.seeds: tuple[int, ...] = (0,)
        self.plans_computed = 0
        self.plans_reused = 0
        self.shared: dict[str, Any] = {}
        self.memories: list[dict[str, Any]] = [self.shared]
        self.reset()

    def reset(self) -> None:
        """Forget the generation; the next call is step 0 of a new one."""
        self.step = -1
        self.refresh = True
        self.text: Tensor | None = None
        self.ids: Tensor | None = None
        self.size: tuple[int, ...] | None = None
        self.timestep: float | None = None
        self.falling: bool | None = None
        self.output: Tensor | None = None
        self._row_seeds: Tensor | None = None
        for memory in self.memories:
            memory.clear()

    def advance(self, sample: Tensor, timestep: Any, text: Tensor | None, ids: Tensor | None = None) -> None:
        """Begin a denoiser call on latents `sample` with these text embeddings and, in Flux, position ids."""
        size = tuple(sample.shape)
        if text is not self.text or ids is not self.ids or size != self.size or self._turned(timestep):
            self.reset()
            self.text, self.ids, self.size = text, ids, size
            self._turned(timestep)
        self.step += 1
        self.refresh = self.step == 0 or self.due(self.step)
        if self.refresh:
            self.plans_computed += 1
        else:
            self.plans_reused += 1

    def _turned(self, timestep: Any) -> bool:
        """Whether timesteps, so far falling (or rising, in inversion), now go the other way.

        Only timesteps already on the host are looked at; reading one from a GPU would wait for it.
        """
        if isinstance(timestep, Tensor):
            if torch.compiler.is_compiling() or timestep.device.type != "cpu" or timestep.numel() == 0:
                return False
            timestep = timestep.flatten()[0].item()
        last, self.timestep = self.timestep, float(timestep)
        if last is None or last == self.timestep:
            return False
        falling = self.timestep < last
        turned = self.falling is not None and falling != self.falling
        self.falling = falling
        return turned

    def row_seeds(self, batch: int, device: torch.device) -> Tensor:
        """The seed of every row, [B] int64: guidance stacks whole batches of images, so seeds repeat.

        Made once for a generation, whose batch does not change.
        """
        if self._row_seeds is not None:
            return self._row_seeds
        repeats, rest = divmod(batch, len(self.seeds))
        if rest:
            raise ValueError(
                f"seeds must fit the batch: the model is called with {batch} rows, which is no multiple of the "
                f"{len(self.seeds)} seeds given to retom.set_seeds"
            )
        self._row_seeds = torch.tensor(self.seeds, dtype=torch.int64, device=device).repeat(repeats)
        return self._row_seeds

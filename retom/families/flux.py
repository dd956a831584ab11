"""FLUX.1: latents come packed into tokens, with position ids; attention runs over text and image tokens together."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from retom.families.base import Blocks, Family, Positions, Read, Sublayer
from retom.tracing import constant

_ROTARY = Positions(
    argument="image_rotary_emb",
    image_norms=("norm_q", "norm_k"),
    text_norms=("norm_added_q", "norm_added_k"),
    processors=("FluxAttnProcessor", "FluxIPAdapterAttnProcessor"),
)


class Flux(Family):
    """Joint blocks, with the text beside the image, then single blocks, with both in one sequence.

    A single block has no separate feed-forward: its attention and its feed-forward share one projection.
    """

    title = "Flux"
    parents = ("FluxTransformer2DModel",)
    blocks: ClassVar[Blocks] = {
        "FluxTransformerBlock": {
            "self": Sublayer("attn", text="beside", mask="attention_mask", positions=_ROTARY),
            "ff": Sublayer("ff"),
        },
        "FluxSingleTransformerBlock": {
            "self": Sublayer("attn", text="before", mask="attention_mask", positions=_ROTARY),
        },
    }
    marker = "img_ids"  # pipelines create new ones for every generation

    def rank(self, name: str) -> int:
        """Single blocks run last."""
        return int(name.startswith("single_transformer_blocks"))

    def grid(self, parent: nn.Module, read: Read) -> tuple[int, int]:
        """From the position ids."""
        return packed_grid(read("img_ids"))


def packed_grid(ids: Tensor) -> tuple[int, int]:
    """The grid (H, W) of packed tokens, from their position ids [N, 3] (or [1, N, 3]): (image, row, column).

    A graph under `torch.compile` contains the grid it was compiled for. If it is called with as many tokens in another
    grid, an assertion fails.

    Raises:
        ValueError: unless the ids are those of one image, row by row.
    """
    ids = ids[0] if ids.ndim == 3 else ids
    width = _row_length(ids)
    if torch.compiler.is_compiling():
        same = (ids[:, 1] == ids[0, 1]).sum() == width
        message = "the token grid is not the compiled one; call torch.compiler.reset() first (on a GPU, restart Python)"
        torch._assert_async(same, message)  # after a failure on a GPU, the process cannot use CUDA any more
    return ids.shape[0] // width, width


@constant
def _row_length(ids: Tensor) -> int:
    """Tokens per row, read from the ids. On a GPU this is the only wait of a generation."""
    width = int((ids[:, 1] == ids[0, 1]).sum())
    height, rest = divmod(ids.shape[0], width)
    rows, columns = ids[0, 1] + torch.arange(height).to(ids), ids[0, 2] + torch.arange(width).to(ids)
    expected = torch.stack([rows.repeat_interleave(width), columns.repeat(height)], dim=1)
    if rest or not torch.equal(ids[:, 1:3], expected) or (ids[:, 0] != ids[0, 0]).any():
        raise ValueError(
            f"img_ids must have the rows and columns of one image, row by row, got {ids.shape[0]} tokens of which "
            f"{width} are in the first row; images passed next to the latents (Flux Kontext) are not supported"
        )
    return width

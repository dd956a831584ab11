"""Rank the tokens of each window: the destination, the sources from the best, then the others (Algorithm 1)."""

from typing import NamedTuple

import torch
from torch import Tensor

from retom.plans import representative
from retom.plans.windows import Region
from retom.rng import Draw, uniform_index


class Choice(NamedTuple):
    """How destination and sources of a window are chosen; see `retom.merge_plan`."""

    destination: str
    source: str
    similarity: str
    draw: Draw


def rank_regions(
    x: Tensor, grid: tuple[int, int], regions: tuple[Region, ...], choice: Choice
) -> list[tuple[Tensor, Tensor]]:
    """For each region, its tokens [windows, n] and their ranking per image [B, windows, n], destination first."""
    x, inverse = representative.scaled(x, choice.similarity)
    pieces, first_window = [], 0
    for region in regions:
        tokens = region.tokens(grid, x.device)
        ranked = _rank(x, inverse, grid, region, tokens, choice, first_window)
        pieces.append((tokens, ranked))
        first_window += region.num_windows
    return pieces


def _rank(
    x: Tensor,
    inverse: Tensor,
    grid: tuple[int, int],
    region: Region,
    tokens: Tensor,
    choice: Choice,
    first_window: int,
) -> Tensor:
    """Token numbers of one region's windows, destination first, then best source first, [B, windows, n]."""
    batch, similarity = x.shape[0], choice.similarity
    if region.size == 1:
        return tokens.expand(batch, -1, -1)
    score = representative.mean_similarity(x, inverse, region, grid, tokens, similarity)  # [B, windows, n]
    if choice.destination == "representative":
        first = score.argmax(dim=-1)
    elif choice.destination == "least":
        first = score.argmin(dim=-1)
    else:
        seeds, step, layer = choice.draw
        assert seeds is not None  # merge_plan checked it
        windows = torch.arange(first_window, first_window + region.num_windows, device=x.device)
        first = uniform_index(seeds, step, layer, windows, region.size)
    if choice.source == "destination":
        chosen = tokens.expand(batch, -1, -1).gather(2, first[..., None])[..., 0]  # [B, windows]
        score = representative.similarity_to(x, inverse, region, grid, chosen, similarity)
    places = representative.rank(score, first)
    return tokens.expand(batch, -1, -1).gather(2, places)

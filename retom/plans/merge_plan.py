"""Merge plans, and how ReToM makes them (arXiv 2507.12771, Algorithm 1)."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from retom.backends import get_backend
from retom.checks import check_choice, check_integer, check_number
from retom.plans import representative
from retom.plans.base import Plan
from retom.plans.checks import check_contents, check_fields, is_readable
from retom.plans.ranking import Choice, rank_regions
from retom.plans.windows import Region, check_grid, tile
from retom.rng import Draw, check_seeds

DESTINATIONS = ("representative", "least", "random")
SOURCES = ("average", "destination")
_Fields = tuple[Tensor, Tensor, int, Tensor, Tensor, Tensor]  # the first six of a plan


@dataclass(frozen=True, eq=False, repr=False)
class MergePlan(Plan):
    """The slot and the weight of each token. Plain data; merge and unmerge are linear maps.

    Shapes and dtypes are checked whenever a plan is made, contents if they are on the host. `check` checks contents on
    any device.

    Attributes:
        assign: the slot of each token, [B, N] int64 in [0, M).
        weight: the weight of each token in its slot, [B, N] float32.
        num_merged: number of slots, M.
        dst_index: the token whose position each slot has, [B, M] int64.
        order: tokens grouped by slot, [B, N]; they are summed in this order. Computed from `assign` if not given.
        starts: the start of each slot in `order`, [B, M].
        blocks: pairs (tokens [windows, n], slots per window) if slots are numbered window by window.
        mean: whether the weights are those of a plain mean, which is then computed as a sum and a division.
        backend: the backend that executes the plan; `on` changes it.
        prepared: what the backend computed from the plan in advance.

    Raises:
        ValueError: for wrong types, dtypes, shapes or devices, a slot out of range or without a token, or a destination
            that is not in its slot.
    """

    assign: Tensor
    weight: Tensor
    num_merged: int
    dst_index: Tensor
    order: Tensor | None = field(default=None, repr=False)
    starts: Tensor | None = field(default=None, repr=False)
    blocks: tuple[tuple[Tensor, int], ...] = field(default=(), repr=False)
    mean: bool = False
    backend: str = "gather"
    prepared: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.prepared is None:
            check_fields(self.assign, self.weight, self.num_merged, self.dst_index)
        if self.order is None or self.starts is None:
            if is_readable(self.assign):
                check_contents(self.assign, self.weight, self.dst_index, self.order)
            slots, order = torch.sort(self.assign, dim=1, stable=True)
            edges = torch.arange(self.num_merged, device=slots.device).expand(slots.shape[0], -1).contiguous()
            object.__setattr__(self, "order", order)
            object.__setattr__(self, "starts", torch.searchsorted(slots.contiguous(), edges))
        if self.prepared is None and not self.is_identity:
            object.__setattr__(self, "prepared", get_backend(self.backend).prepare(self))

    @property
    def num_tokens(self) -> int:
        """Number of tokens, N."""
        return self.assign.shape[1]

    def check(self) -> None:
        """ValueError for a slot out of range or without a token, a destination outside its slot or a non-finite weight.

        The contents are copied to the host, which waits for a GPU.
        """
        check_contents(self.assign, self.weight, self.dst_index, self.order)

    @classmethod
    def identity(cls, batch: int, num_tokens: int, device: torch.device | str = "cpu") -> "MergePlan":
        """The plan that merges nothing."""
        every = torch.arange(num_tokens, device=device).expand(batch, num_tokens)
        weight = torch.ones(batch, num_tokens, device=device)
        return cls(every, weight, num_tokens, every, order=every, starts=every)

    @classmethod
    def from_clusters(
        cls,
        assign: Tensor,
        weight: Tensor | None,
        dst_index: Tensor,
        *,
        order: Tensor | None = None,
        backend: str = "gather",
    ) -> "MergePlan":
        """Make a plan from the slot of each token, for methods whose clusters differ in size from image to image.

        Args:
            assign: [B, N] int64, every slot in [0, M) used.
            weight: [B, N], or None for the mean of each cluster.
            dst_index: [B, M] int64, a token of each slot.
            order: [B, N] tokens grouped by slot, if the order of summation matters.
            backend: the backend that executes the plan. Pass `SiteContext.backend` to avoid preparing it twice.

        Raises:
            ValueError: as for `MergePlan`.
        """
        check_fields(assign, weight, getattr(dst_index, "shape", (0, 0))[-1], dst_index)
        if is_readable(assign):
            check_contents(assign, weight, dst_index, order)
        if assign.shape[1] == dst_index.shape[1]:
            return cls.identity(assign.shape[0], assign.shape[1], assign.device)
        mean = weight is None
        count = torch.zeros_like(dst_index).scatter_add_(1, assign, torch.ones_like(assign))  # [B, M]
        if weight is None:
            weight = count.gather(1, assign).float().reciprocal()
        starts = count.cumsum(1) - count
        order = assign.sort(dim=1, stable=True).indices if order is None else order
        slots = dst_index.shape[1]
        return cls(assign, weight, slots, dst_index, order=order, starts=starts, mean=mean, backend=backend)

    def parts(self) -> tuple[Any, ...]:
        """The values of all fields, in order."""
        return tuple(getattr(self, name) for name in _FIELDS)

    def on(self, backend: str) -> "MergePlan":
        """The same plan on another backend."""
        return self if backend == self.backend else dataclasses.replace(self, backend=backend, prepared=None)

    def merge(self, x: Tensor) -> Tensor:
        """[B, N, C] -> [B, M, C], for any tensor over the planned tokens."""
        self._check_fit(x, self.num_tokens)
        return x if self.is_identity else get_backend(self.backend).merge(self, x)

    def unmerge(self, y: Tensor) -> Tensor:
        """[B, M, C] -> [B, N, C]: every token gets the value of its slot."""
        self._check_fit(y, self.num_merged)
        return y if self.is_identity else get_backend(self.backend).unmerge(self, y)


_FIELDS = tuple(field_.name for field_ in dataclasses.fields(MergePlan))


def merge_plan(
    x: Tensor,
    grid: tuple[int, int],
    *,
    window: int,
    ratio: float,
    alpha: float = 0.5,
    destination: str = "representative",
    source: str = "average",
    seeds: Sequence[int] | Tensor | None = None,
    step: int = 0,
    layer: int = 0,
    backend: str = "gather",
    similarity: str = "cosine",
) -> MergePlan:
    """Plan the merge of tokens x window by window (Algorithm 1).

    Args:
        x: tokens the similarity is measured on, [B, N, C] float.
        grid: (H, W) with H * W = N, row-major.
        window: side of a window in tokens, limited to the sides of the grid.
        ratio: share of each window's tokens removed, in [0, 1), read as a decimal number. Shapes depend on it, so a
            function under `torch.compile` cannot have it as a changing argument.
        alpha: weight of the destination in the merged token, in [0, 1] (Eq. 2).
        destination: "representative" (highest mean similarity), "least" or "random".
        source: "average" (highest mean similarity) or "destination" (most similar to the destination).
        seeds, step, layer: the inputs of a random destination; seeds [B] ints are required for "random" only.
        backend: the backend that executes the plan, and that makes it if it can; the plan is the same.
        similarity: "cosine" (Eq. 1), "dot" product, "l2" (negative squared distance) or "pearson" (over channels).

    Raises:
        ValueError: for a value that is not allowed, with its name.
    """
    check_options(ratio=ratio, alpha=alpha, destination=destination, source=source, similarity=similarity)
    if not isinstance(x, Tensor) or x.ndim != 3 or not x.is_floating_point():
        got = f"{x.dtype} {list(x.shape)}" if isinstance(x, Tensor) else repr(x)
        raise ValueError(f"x must be a float tensor [B, N, C], got {got}")
    grid = check_grid(grid, x.shape[1])
    check_integer("window", window, 1)
    drawn_from = check_seeds(seeds, x.shape[0], x.device) if destination == "random" else None
    planner = get_backend(backend)
    regions = tile(grid, window)
    removed = [representative.num_sources(ratio, region.size) for region in regions]
    if not any(removed):
        return MergePlan.identity(x.shape[0], x.shape[1], x.device)
    draw: Draw = (drawn_from, step, layer)
    with torch.no_grad():
        # Backends that plan by themselves support only the similarity of the paper.
        if hasattr(planner, "plan_windows") and similarity == "cosine":
            fields: _Fields = planner.plan_windows(x, grid, regions, removed, alpha, destination, source, draw)
            return MergePlan(*fields, backend=backend)
        pieces = rank_regions(x, grid, regions, Choice(destination, source, similarity, draw))
        return _assemble(pieces, regions, removed, alpha, backend)


def check_options(*, ratio: float, alpha: float, destination: str, source: str, similarity: str = "cosine") -> None:
    """ValueError for a value that is not allowed, with its name."""
    check_number("ratio", ratio, "[0, 1)")
    check_number("alpha", alpha, "[0, 1]")
    check_choice("destination", destination, DESTINATIONS)
    check_choice("source", source, SOURCES)
    check_choice("similarity", similarity, representative.SIMILARITIES)


def _assemble(
    pieces: list[tuple[Tensor, Tensor]],
    regions: tuple[Region, ...],
    removals: list[int],
    alpha: float,
    backend: str,
) -> MergePlan:
    """Number the slots window by window: first that of the destination, then one for each token that is not merged."""
    device, batch = pieces[0][1].device, pieces[0][1].shape[0]
    slots, starts, weights, destinations, blocks, first_slot, first_entry = [], [], [], [], [], 0, 0
    for region, removed, (tokens, ranked) in zip(regions, removals, pieces, strict=True):
        kept = region.size - removed
        place = torch.arange(region.size, device=device)
        window = torch.arange(region.num_windows, device=device)[:, None]
        slots.append((first_slot + window * kept + (place - removed).clamp(min=0)).reshape(-1))
        head = torch.arange(kept, device=device)
        start = torch.where(head == 0, 0, head + removed)
        starts.append((first_entry + window * region.size + start).reshape(-1))
        weights.append(_weights(removed, alpha, place).repeat(region.num_windows))
        destinations.append(ranked[..., start].flatten(1))
        blocks.append((tokens, kept))
        first_slot += region.num_windows * kept
        first_entry += region.num_windows * region.size
    order = torch.cat([ranked.flatten(1) for _, ranked in pieces], dim=1)  # [B, N]
    slot = torch.cat(slots).expand(batch, -1)
    weight = torch.cat(weights).expand(batch, -1)
    return MergePlan(
        assign=torch.empty_like(order).scatter_(1, order, slot),
        weight=torch.empty(order.shape, device=device).scatter_(1, order, weight),
        num_merged=first_slot,
        dst_index=torch.cat(destinations, dim=1),
        order=order,
        starts=torch.cat(starts).expand(batch, -1),
        blocks=tuple(blocks),
        backend=backend,
    )


def _weights(removed: int, alpha: float, place: Tensor) -> Tensor:
    """Weights in ranked order: alpha for the destination, (1 - alpha) / r for a source, 1 for the rest (Eq. 2)."""
    if removed == 0:
        return torch.ones(place.shape, device=place.device)
    source = torch.where(place <= removed, (1 - alpha) / removed, 1.0)
    return torch.where(place == 0, alpha, source).float()

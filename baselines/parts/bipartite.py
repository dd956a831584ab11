"""The base of methods that match tokens in two sets: sources are merged into destinations, or pruned for them."""

import abc
from dataclasses import dataclass

import torch
from torch import Tensor

from retom.checks import as_tuple
from retom.method import SiteContext, TokenMerger, check_merger
from retom.plans.base import Plan


@dataclass(frozen=True)
class BipartiteMerger(TokenMerger):
    """What ToMeSD and its successors have in common: similarity on the input of the block, at the top level alone.

    Attributes:
        targets: the sub-layers that run on merged tokens, of "self" or "self_kv", "cross", "ff".
        max_downsample: sites with coarser grids are not merged; None merges at every depth.
    """

    targets: tuple[str, ...] = ("self",)
    max_downsample: int | None = 1
    metric = "block_input"

    def __post_init__(self):
        object.__setattr__(self, "targets", as_tuple(self.targets))
        check_merger(self)

    def plan(self, metric: Tensor, grid: tuple[int, int], context: SiteContext) -> Plan | None:
        """Plan one site; None below `max_downsample`."""
        if not self.reaches(context.downsample):
            return None
        with torch.no_grad():
            return self.matched(metric, grid, context)

    @abc.abstractmethod
    def matched(self, metric: Tensor, grid: tuple[int, int], context: SiteContext) -> Plan | None:
        """The plan of a site that is merged; None if no token is."""

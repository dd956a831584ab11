"""Average-linkage clustering by merging all reciprocal nearest neighbours at once, on the device of the tokens.

The average of all cosine similarities between two clusters is the product of their mean unit tokens, so no N x N matrix
is updated: a round is one matrix product. Average linkage is reducible (merging two clusters brings neither nearer to a
third). Therefore every reciprocal pair is also a merge of the greedy algorithm, in any order (Murtagh 1983, The
Computer Journal 26:354), and the nearest of all merges found are the greedy ones.
"""

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

_ROWS = 2048  # of the similarity matrix at a time: 64 MB in float32 at N = 8,192


def reciprocal_labels(unit: Tensor, clusters: int) -> np.ndarray:
    """The cluster of each of N tokens, [N], from unit tokens [N, C] float32; the same as the greedy algorithm."""
    size = unit.shape[0]
    pairs = _merges(unit, size - clusters).cpu().numpy()
    edges = coo_array((np.ones(len(pairs), dtype=np.int8), (pairs[:, 0], pairs[:, 1])), shape=(size, size))
    return connected_components(edges, directed=False)[1]


def _merges(unit: Tensor, wanted: int) -> Tensor:
    """The `wanted` nearest merges as pairs of tokens, [wanted, 2]; the first token of a cluster represents it."""
    state = _Clusters(unit)
    pairs, nearness = [], []
    bound = -torch.inf
    while True:
        state.find_neighbours(bound)
        if nearness:
            made = torch.cat(nearness)
            # No later merge is nearer than the nearest current pair.
            if int((made >= state.nearest()).sum()) >= wanted:
                break
            if len(made) >= wanted:
                bound = float(made.topk(wanted).values[-1])
        pair, similarity = state.merge_reciprocal(bound)
        pairs.append(pair)
        nearness.append(similarity)
    order = made.sort(descending=True, stable=True).indices[:wanted]
    return torch.cat(pairs)[order]


class _Clusters:
    """The current clusters, each stored at the index of its first token."""

    def __init__(self, unit: Tensor):
        size = unit.shape[0]
        self.total = unit.clone()  # [N, C]
        self.mean = unit.clone()
        self.count = unit.new_ones(size, 1)
        self.place = torch.arange(size, device=unit.device)
        self.alive = torch.ones(size, dtype=torch.bool, device=unit.device)
        self.stale = self.alive.clone()  # whose neighbour must be computed
        self.similarity = unit.new_full((size,), torch.inf)  # with the neighbour; an upper bound if stale
        self.neighbour = self.place.clone()

    def find_neighbours(self, bound: float) -> None:
        """Compute the nearest cluster of each stale one above the bound."""
        columns = self.alive.nonzero()[:, 0]
        rows = (self.alive & self.stale & (self.similarity >= bound)).nonzero()[:, 0]
        for part in rows.split(_ROWS):
            similarity = self.mean[part] @ self.mean[columns].T
            similarity.masked_fill_(part[:, None] == columns, -torch.inf)
            self.similarity[part], nearest = similarity.max(dim=1)
            self.neighbour[part] = columns[nearest]
        self.stale[rows] = False

    def nearest(self) -> Tensor:
        """Similarity of the nearest pair."""
        return self.similarity[self.alive].max()

    def merge_reciprocal(self, bound: float) -> tuple[Tensor, Tensor]:
        """Merge all reciprocal nearest pairs with similarity of at least `bound`: (pairs [k, 2], similarity)."""
        fresh = self.alive & ~self.stale & (self.similarity >= bound)
        mutual = fresh & (self.neighbour[self.neighbour] == self.place) & (self.place < self.neighbour)
        first = mutual.nonzero()[:, 0]
        if not len(first):  # equal similarities in a ring
            first = self.similarity.masked_fill(~fresh, -torch.inf).argmax()[None]
        pair = torch.stack([first, self.neighbour[first]], dim=1).sort(dim=1).values
        similarity = self.similarity[first]
        first, second = pair.unbind(1)
        self.total[first] += self.total[second]
        self.count[first] += self.count[second]
        self.mean[first] = self.total[first] / self.count[first]
        self.alive[second] = False
        changed = torch.zeros_like(self.alive)
        changed[pair] = True
        self.stale |= changed | changed[self.neighbour]
        self.similarity[first] = torch.inf
        return pair, similarity

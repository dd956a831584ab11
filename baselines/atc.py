"""ATC: Agglomerative Token Clustering (arXiv 2409.11923) for diffusion models.

Implemented from the paper. The released Stable Diffusion code does not run (an undefined name in `merge.py`) but shows
the intent, which this file follows: similarity is computed on the input of the block, only the top level is merged
(`max_downsample=1`), and every row of the batch is clustered separately, including both halves of guidance. Clustering
runs on the host: at every site and step the pairwise distances are copied from the device and the clusters back. A GPU
waits for that, and `torch.compile` cannot trace it.
"""

import importlib.util
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform
from sklearn.cluster import AgglomerativeClustering
from torch import Tensor

from baselines.parts.reciprocal import reciprocal_labels
from retom.checks import as_tuple, check_choice, check_number
from retom.method import SiteContext, TokenMerger, check_merger
from retom.plans.merge_plan import MergePlan
from retom.plans.representative import inverse_norms, num_sources

LINKAGES = ("average", "complete", "single")
IMPLEMENTATIONS = ("sklearn", "fastcluster", "reciprocal")


@dataclass(frozen=True)
class ATC(TokenMerger):
    """Merge the clusters of an agglomerative clustering into their means.

    Attributes:
        ratio: share of all tokens removed, any in [0, 1).
        linkage: distance of two clusters, "average", "complete" or "single".
        targets: the sub-layers that run on merged tokens, of "self", "cross", "ff".
        max_downsample: sites with coarser grids are not merged; None merges at every depth.
        implementation: "sklearn" as in the authors' code, "fastcluster", or "reciprocal" (average linkage only, on the
            device of the tokens); the clusters are the same.

    Raises:
        ValueError: with the name, the value and what is allowed.
    """

    ratio: float = 0.5
    linkage: str = "average"
    targets: tuple[str, ...] = ("self",)
    max_downsample: int | None = 1
    implementation: str = "sklearn"
    metric = "block_input"

    def __post_init__(self):
        object.__setattr__(self, "targets", as_tuple(self.targets))
        check_merger(self)
        check_number("ratio", self.ratio, "[0, 1)")
        for name, allowed in (("linkage", LINKAGES), ("implementation", IMPLEMENTATIONS)):
            check_choice(name, getattr(self, name), allowed)
        if self.implementation == "fastcluster" and importlib.util.find_spec("fastcluster") is None:
            raise ValueError("implementation='fastcluster' needs the package fastcluster; install it or use 'sklearn'")
        if self.implementation == "reciprocal" and self.linkage != "average":
            raise ValueError(f"implementation='reciprocal' supports only linkage 'average', got {self.linkage!r}")

    def plan(self, metric: Tensor, grid: tuple[int, int], context: SiteContext) -> MergePlan | None:
        """Plan one site; None below `max_downsample`."""
        if not self.reaches(context.downsample):
            return None
        batch, num_tokens, _ = metric.shape
        clusters = num_tokens - num_sources(self.ratio, num_tokens)
        if clusters == num_tokens:
            return MergePlan.identity(batch, num_tokens, metric.device)
        with torch.no_grad():
            pairs = [number(self._labels(tokens, clusters)) for tokens in metric]
        assign, first = (torch.from_numpy(np.stack(part)).to(metric.device) for part in zip(*pairs, strict=True))
        return MergePlan.from_clusters(assign, None, first, backend=context.backend)

    def _labels(self, tokens: Tensor, clusters: int) -> np.ndarray:
        if self.implementation == "reciprocal":
            return reciprocal_labels(unit_tokens(tokens), clusters)
        labels = fast_labels if self.implementation == "fastcluster" else sklearn_labels
        return labels(distances(tokens), clusters, self.linkage)


def unit_tokens(tokens: Tensor) -> Tensor:
    """Tokens [N, C] normalised to 1 in float32; a token of norm 0 is not changed and has distance 1 to all."""
    tokens = tokens.float()
    return tokens * inverse_norms(tokens[None])[0, :, None]


def distances(tokens: Tensor) -> np.ndarray:
    """Cosine distances of one image's tokens [N, C] on the host, [N, N] float32."""
    unit = unit_tokens(tokens)
    return (1 - unit @ unit.T).cpu().numpy()


def sklearn_labels(distance: np.ndarray, clusters: int, linkage: str) -> np.ndarray:
    """The cluster of each token, [N], by scikit-learn, as in the official code."""
    return AgglomerativeClustering(n_clusters=clusters, metric="precomputed", linkage=linkage).fit(distance).labels_


def fast_labels(distance: np.ndarray, clusters: int, linkage: str) -> np.ndarray:
    """The cluster of each token, [N], by fastcluster; the same as scikit-learn's, except for equal distances."""
    import fastcluster  # optional

    size = len(distance)
    tree = fastcluster.linkage(squareform(distance, checks=False), method=linkage, preserve_input=False)
    # Merge number k joins two nodes into node size + k. The first size - clusters merges, nearest first, are used.
    children = tree[: size - clusters, :2].astype(np.int64)
    parent = np.repeat(np.arange(size, 2 * size - clusters), 2)
    edges = coo_array(
        (np.ones(parent.size, dtype=np.int8), (children.reshape(-1), parent)), shape=(2 * size - clusters,) * 2
    )
    return connected_components(edges, directed=False)[1][:size]


def number(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Clusters numbered by their first token: the cluster of each token [N] and the first token of each [M], int64."""
    _, first, cluster = np.unique(labels, return_index=True, return_inverse=True)
    by_first = np.argsort(first)
    place = np.empty_like(by_first)
    place[by_first] = np.arange(len(first))
    return place[cluster].astype(np.int64), first[by_first].astype(np.int64)

"""ATC against a plain-loop reading of its paper, scikit-learn, fastcluster, and its own laws."""

import itertools
import sys

import numpy as np
import pytest
import torch
from sklearn.cluster import AgglomerativeClustering

import retom
from baselines.atc import ATC, IMPLEMENTATIONS, LINKAGES, distances, fast_labels, number, sklearn_labels, unit_tokens
from baselines.parts.reciprocal import reciprocal_labels
from tests.baselines.generating import assert_same_images, context, denoise, generate, snapshot, tokens


def partition(labels) -> set[frozenset[int]]:
    """Clusters as sets of tokens, independent of their numbers."""
    return {
        frozenset(np.flatnonzero(np.asarray(labels) == label).tolist()) for label in set(np.asarray(labels).tolist())
    }


def agglomerate(x: torch.Tensor, clusters: int, linkage: str) -> set[frozenset[int]]:
    """Join the two nearest clusters until `clusters` are left, by the definition of each linkage."""
    unit = torch.nn.functional.normalize(x.double(), dim=-1)
    distance = (1 - unit @ unit.T).numpy()
    between = {"average": np.mean, "complete": np.max, "single": np.min}[linkage]
    groups = [frozenset([token]) for token in range(len(x))]
    while len(groups) > clusters:
        pairs = itertools.combinations(groups, 2)
        left, right = min(pairs, key=lambda pair: between([distance[i, j] for i in pair[0] for j in pair[1]]))
        groups = [group for group in groups if group not in (left, right)] + [left | right]
    return set(groups)


VARIANTS = [(name, linkage) for name in IMPLEMENTATIONS for linkage in LINKAGES if name != "reciprocal"]


@pytest.mark.parametrize(("implementation", "linkage"), [*VARIANTS, ("reciprocal", "average")])
@pytest.mark.parametrize("ratio", [0.3, 0.9])
def test_a_plain_loop_reading_of_the_paper(implementation, linkage, ratio):
    x = tokens(2, (4, 6), channels=5)
    plan = ATC(ratio=ratio, linkage=linkage, implementation=implementation).plan(x, (4, 6), context((0, 0)))
    for image in range(2):
        groups = agglomerate(x[image], plan.num_merged, linkage)
        assert partition(plan.assign[image]) == groups
        expected = x[image].clone()
        for group in groups:
            expected[sorted(group)] = x[image, sorted(group)].mean(dim=0)
        torch.testing.assert_close(plan.unmerge(plan.merge(x))[image], expected)


@pytest.mark.parametrize("ratio", [0.1, 0.29, 0.5, 0.75, 0.99])
def test_clusters_are_scikit_learns(ratio):
    x = tokens(1, (10, 10))
    plan = ATC(ratio=ratio).plan(x, (10, 10), context())
    assert plan.num_merged == 100 - round(100 * ratio)
    options = {"n_clusters": plan.num_merged, "metric": "cosine", "linkage": "average"}
    assert partition(plan.assign[0]) == partition(AgglomerativeClustering(**options).fit(x[0].numpy()).labels_)


@pytest.mark.parametrize("linkage", LINKAGES)
def test_both_implementations_make_the_same_clusters_of_random_tokens(linkage):
    for seed in range(3):
        distance = distances(tokens(1, (16, 16), channels=32, seed=seed)[0])
        for clusters in (1, 13, 128, 255):
            slow = number(sklearn_labels(distance, clusters, linkage))
            fast = number(fast_labels(distance, clusters, linkage))
            assert all(np.array_equal(*pair) for pair in zip(slow, fast, strict=True))


@pytest.mark.parametrize("seed", range(5))
def test_reciprocal_merging_makes_the_same_clusters_of_random_tokens(seed):
    x = tokens(1, (16, 16), channels=32, seed=seed)[0]
    for clusters in (1, 13, 64, 128, 200, 255):
        greedy = sklearn_labels(distances(x), clusters, "average")
        assert partition(reciprocal_labels(unit_tokens(x), clusters)) == partition(greedy)


def test_all_implementations_make_the_same_clusters_of_real_activations(tiny_original):
    seen = []
    sites = [module for name, module in tiny_original.unet.named_modules() if name.endswith("transformer_blocks.0")]
    handles = [
        module.register_forward_pre_hook(lambda _module, args: seen.append(args[0].detach())) for module in sites
    ]
    denoise(tiny_original.unet)
    for handle in handles:
        handle.remove()
    assert len(seen) == 16
    for states in seen:
        distance = distances(states[0])
        clusters = len(distance) // 2
        slow, fast = sklearn_labels(distance, clusters, "average"), fast_labels(distance, clusters, "average")
        assert partition(slow) == partition(fast)
        assert partition(slow) == partition(reciprocal_labels(unit_tokens(states[0]), clusters))


def test_clusters_are_numbered_by_their_first_token():
    plan = ATC().plan(tokens(2, (6, 5)), (6, 5), context((0, 0)))
    for image in range(2):
        assign = plan.assign[image].tolist()
        assert list(dict.fromkeys(assign)) == list(range(plan.num_merged))
        assert plan.dst_index[image].tolist() == [assign.index(slot) for slot in range(plan.num_merged)]


def test_images_are_clustered_by_themselves():
    x = tokens(3, (8, 8))
    together = ATC().plan(x, (8, 8), context((1, 2, 3))).assign
    assert torch.equal(ATC().plan(x.flip(0), (8, 8), context((3, 2, 1))).assign, together.flip(0))
    assert torch.equal(ATC().plan(x[1:2], (8, 8), context((2,))).assign, together[1:2])
    assert not torch.equal(together[0], together[1])


def test_tokens_of_norm_zero_and_equal_tokens_are_clustered():
    x = torch.zeros(1, 8, 4)
    x[0, 4:] = torch.tensor([1.0, 2, 3, 4])
    for implementation in IMPLEMENTATIONS:
        plan = ATC(ratio=0.375, implementation=implementation).plan(x, (2, 4), context())
        assert partition(plan.assign[0]) == {frozenset([4, 5, 6, 7])} | {frozenset([token]) for token in range(4)}


def test_half_precision_is_measured_in_float32():
    x = tokens(1, (6, 6)).half()
    plan = ATC().plan(x, (6, 6), context())
    assert torch.equal(plan.assign, ATC().plan(x.float(), (6, 6), context()).assign)
    assert plan.merge(x).dtype == torch.float16


def test_coarser_grids_are_left_alone_and_ratio_zero_merges_nothing():
    x = tokens(1, (8, 8))
    assert ATC().plan(x, (8, 8), context(downsample=2)) is None
    assert ATC(max_downsample=None).plan(x, (8, 8), context(downsample=8)).num_merged == 32
    assert ATC(ratio=0).plan(x, (8, 8), context()).is_identity
    assert ATC(ratio=0.9).plan(x[:, :1], (1, 1), context()).is_identity
    assert not ATC(ratio=0).merges


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 1.0}, r"ratio must be in \[0, 1\), got 1.0"),
        ({"linkage": "ward"}, "linkage must be one of average, complete, single, got 'ward'"),
        ({"implementation": "gpu"}, "implementation must be one of sklearn, fastcluster, reciprocal, got 'gpu'"),
        (
            {"implementation": "reciprocal", "linkage": "single"},
            "implementation='reciprocal' supports only linkage 'average', got 'single'",
        ),
        ({"max_downsample": 0}, "max_downsample must be None or an integer of at least 1"),
        ({"targets": ("all",)}, "targets must be one or more of"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ATC(**options)


def test_an_absent_fastcluster_is_said_when_the_method_is_made(monkeypatch):
    monkeypatch.setitem(sys.modules, "fastcluster", None)
    with pytest.raises(ValueError, match="needs the package fastcluster; install it or use 'sklearn'"):
        ATC(implementation="fastcluster")


def test_images_do_not_depend_on_their_batch_and_the_patch_comes_off(tiny_pipe):
    before, plain = snapshot(tiny_pipe.unet), generate(tiny_pipe, [1])
    with retom.patched(tiny_pipe, ATC(implementation="fastcluster", max_downsample=2)):
        together = generate(tiny_pipe, [1, 2])
        alone = torch.cat([generate(tiny_pipe, [1]), generate(tiny_pipe, [2])])
        merged = [(site["tokens"], site["merged"]) for site in retom.report(tiny_pipe)]
    assert_same_images(together[:1], alone[:1], plain)
    assert_same_images(together[1:], alone[1:], plain)
    assert sorted(merged) == [(16, 16)] + [(64, 64)] * 5 + [(256, 128)] * 5 + [(1024, 512)] * 5
    assert snapshot(tiny_pipe.unet) == before
    assert torch.equal(generate(tiny_pipe, [1]), plain)

"""The laws of a plan as properties over random grids, windows and ratios; Algorithm 1 against plain loops."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import retom
from tests.retom import plain_loop

GRIDS = st.sampled_from([(1, 1), (1, 2), (3, 5), (5, 3), (18, 14), (16, 16), (17, 1), (12, 9)])
WINDOWS = st.sampled_from([1, 2, 3, 5, 8, 16])
RATIOS = st.sampled_from([0.0, 0.1, 0.25, 0.29, 0.5, 0.75, 0.9, 0.99])
ALPHAS = st.sampled_from([0.0, 0.3, 0.5, 1.0])
DESTINATIONS = st.sampled_from(["representative", "least", "random"])
SOURCES = st.sampled_from(["average", "destination"])
BACKENDS = ["gather", "matmul"]


def tokens(grid, batch=2, channels=6, seed=0, dtype=torch.float32):
    return torch.randn(batch, grid[0] * grid[1], channels, generator=torch.Generator().manual_seed(seed)).to(dtype)


@given(GRIDS, WINDOWS, RATIOS, ALPHAS, st.sampled_from(["representative", "least"]), SOURCES, st.integers(0, 50))
@settings(max_examples=120, deadline=None)
def test_algorithm_1_by_plain_loops(grid, window, ratio, alpha, destination, source, seed):
    x = tokens(grid, seed=seed)
    options = {"window": window, "ratio": ratio, "alpha": alpha, "destination": destination, "source": source}
    plan = retom.merge_plan(x, grid, **options)
    merged, out = plan.merge(x), plan.unmerge(plan.merge(x))
    for image in range(2):
        expected, expected_out = plain_loop.merge_image(x[image], grid, **options)
        assert sorted(plan.dst_index[image].tolist()) == sorted(expected)
        by_token = torch.stack([expected[token] for token in plan.dst_index[image].tolist()])
        torch.testing.assert_close(merged[image].double(), by_token, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(out[image].double(), expected_out, atol=1e-5, rtol=1e-5)


@given(GRIDS, WINDOWS, RATIOS, ALPHAS, DESTINATIONS, SOURCES)
@settings(max_examples=120, deadline=None)
def test_laws(grid, window, ratio, alpha, destination, source):
    x, other = tokens(grid), tokens(grid, seed=1)
    plan = retom.merge_plan(
        x, grid, window=window, ratio=ratio, alpha=alpha, destination=destination, source=source, seeds=[3, 4]
    )
    num_tokens = grid[0] * grid[1]
    sizes = [len(tokens_) for tokens_ in plain_loop.windows_of(grid, window)]
    assert plan.num_merged == sum(n - min(math.floor(Fraction(str(ratio)) * n), n - 1) for n in sizes)
    assert plan.assign.shape == plan.weight.shape == (2, num_tokens)
    assert plan.dst_index.shape == (2, plan.num_merged)
    # every slot is used, its destination is one of its tokens, and its weights sum to 1
    totals = torch.zeros(2, plan.num_merged).scatter_add_(1, plan.assign, plan.weight)
    torch.testing.assert_close(totals, torch.ones_like(totals))
    own = plan.assign.gather(1, plan.dst_index)
    assert torch.equal(own, torch.arange(plan.num_merged).expand(2, -1))
    # linear, constant on a cluster, and M rows
    both = plan.merge(2 * x - 3 * other)
    torch.testing.assert_close(both, 2 * plan.merge(x) - 3 * plan.merge(other), atol=1e-5, rtol=1e-5)
    out = plan.unmerge(plan.merge(x))
    assert torch.equal(out, out.gather(1, plan.dst_index.gather(1, plan.assign)[..., None].expand_as(out)))


@given(GRIDS, WINDOWS, RATIOS, DESTINATIONS, SOURCES)
@settings(max_examples=60, deadline=None)
def test_images_of_a_batch_are_independent_and_repeats_equal(grid, window, ratio, destination, source):
    x = tokens(grid, batch=3)
    options = {"window": window, "ratio": ratio, "destination": destination, "source": source}
    together = retom.merge_plan(x, grid, seeds=[5, 6, 7], **options)
    again = retom.merge_plan(x, grid, seeds=[5, 6, 7], **options)
    assert torch.equal(together.merge(x), again.merge(x))
    for image in range(3):
        alone = retom.merge_plan(x[image : image + 1], grid, seeds=[5 + image], **options)
        assert torch.equal(alone.assign[0], together.assign[image])
        assert torch.equal(alone.merge(x[image : image + 1])[0], together.merge(x)[image])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2), (torch.float16, 2e-3)])
@pytest.mark.parametrize(("grid", "window"), [((1, 1), 2), ((3, 5), 2), ((18, 14), 8), ((64, 64), 2), ((64, 64), 16)])
def test_backends_agree(backend, dtype, tolerance, grid, window):
    x = tokens(grid, channels=8, dtype=dtype)
    plan = retom.merge_plan(x, grid, window=window, ratio=0.5)
    onto = plan.on(backend)
    assert onto.backend == backend
    exact = torch.zeros(2, plan.num_merged, 8, dtype=torch.float64)
    weighted = x.double() * plan.weight.double()[..., None]
    exact.scatter_add_(1, plan.assign[..., None].expand_as(weighted), weighted)
    merged = onto.merge(x)
    assert merged.dtype == dtype
    torch.testing.assert_close(merged.double(), exact, atol=tolerance, rtol=tolerance)
    rows = merged.gather(1, plan.assign[..., None].expand(-1, -1, 8))
    assert torch.equal(onto.unmerge(merged), rows)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_large_cluster_is_averaged_without_overflow(backend, dtype):
    x = torch.full((1, 4096, 8), 40.0, dtype=dtype)
    assign = torch.arange(4096)[None] // 4095  # 4,095 tokens in one slot: their sum is beyond float16
    plan = retom.MergePlan.from_clusters(assign, None, torch.tensor([[0, 4095]]), backend=backend)
    torch.testing.assert_close(plan.merge(x), x[:, :2], atol=0.2, rtol=0)


def test_seeds_in_any_layout_are_the_same_seeds():
    x, options = tokens((4, 4), batch=3), {"window": 2, "ratio": 0.5, "destination": "random"}
    every_other = torch.tensor([5, 0, 6, 0, 7, 0])[::2]
    assert retom.rng.check_seeds(every_other, 3, x.device).is_contiguous()
    plans = [retom.merge_plan(x, (4, 4), seeds=seeds, **options) for seeds in (every_other, [5, 6, 7])]
    assert torch.equal(plans[0].assign, plans[1].assign)


@pytest.mark.parametrize("backend", BACKENDS)
def test_ratio_zero_is_the_identity_bit_for_bit(backend):
    x = tokens((7, 9))
    plan = retom.merge_plan(x, (7, 9), window=3, ratio=0.0).on(backend)
    assert plan.is_identity
    assert torch.equal(plan.merge(x), x)
    assert torch.equal(plan.unmerge(x), x)


def test_strided_input_gives_what_contiguous_input_gives():
    x = tokens((8, 8), channels=12)
    strided = x.transpose(1, 2).contiguous().transpose(1, 2)
    plan, other = (retom.merge_plan(t, (8, 8), window=2, ratio=0.5) for t in (x, strided))
    assert not strided.is_contiguous()
    assert torch.equal(plan.assign, other.assign)
    assert torch.equal(plan.merge(x), plan.merge(strided))


def test_equal_tokens_tie_towards_the_lower_index():
    plan = retom.merge_plan(torch.ones(1, 16, 4), (4, 4), window=4, ratio=0.5)
    assert plan.dst_index[0].tolist() == [0, 9, 10, 11, 12, 13, 14, 15]


def test_both_halves_of_guidance_make_the_same_random_choice():
    x = tokens((8, 8), batch=4)
    plan = retom.merge_plan(x, (8, 8), window=4, ratio=0.5, destination="random", seeds=[1, 2, 1, 2], source="average")
    chosen = plan.dst_index.view(4, 4, -1)[:, :, 0]  # the first slot of each window is its destination's
    assert torch.equal(chosen[0], chosen[2])
    assert not torch.equal(chosen[0], chosen[1])


def test_from_clusters_takes_the_mean_of_clusters_of_any_size():
    x = tokens((2, 3))
    assign = torch.tensor([[0, 0, 1, 0, 1, 2], [2, 1, 1, 1, 1, 0]])
    plan = retom.MergePlan.from_clusters(assign, None, torch.tensor([[0, 2, 5], [5, 1, 0]]))
    for backend in BACKENDS:
        merged = plan.on(backend).merge(x)
        for image in range(2):
            for slot in range(3):
                torch.testing.assert_close(merged[image, slot], x[image, assign[image] == slot].mean(0))


def test_gradients_flow_through_merge_and_unmerge():
    x = tokens((4, 4)).requires_grad_()
    plan = retom.merge_plan(x, (4, 4), window=2, ratio=0.5)
    plan.unmerge(plan.merge(x)).square().sum().backward()
    assert torch.isfinite(x.grad).all()
    assert (x.grad != 0).any()


def test_a_plan_is_frozen_data():
    plan = retom.merge_plan(tokens((4, 4)), (4, 4), window=2, ratio=0.5)
    with pytest.raises(AttributeError):
        plan.num_merged = 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 1.2}, r"ratio must be in \[0, 1\), got 1.2"),
        ({"ratio": -0.1}, r"ratio must be in \[0, 1\), got -0.1"),
        ({"ratio": float("nan")}, r"ratio must be in \[0, 1\), got nan"),
        ({"alpha": 1.5}, r"alpha must be in \[0, 1\], got 1.5"),
        ({"window": 0}, "window must be an integer of at least 1, got 0"),
        ({"destination": "best"}, "destination must be one of representative, least, random, got 'best'"),
        ({"source": "dst"}, "source must be one of average, destination, got 'dst'"),
        ({"destination": "random"}, "seeds must be given"),
        ({"destination": "random", "seeds": [1]}, "seeds must be 2 integers"),
        ({"grid": (3, 4)}, r"grid must be .* = 16 tokens, got \(3, 4\)"),
        ({"grid": (4.0, 4)}, r"grid must be .* = 16 tokens, got \(4.0, 4\)"),
        ({"grid": None}, r"grid must be .* = 16 tokens, got None"),
        ({"grid": (4, 4, 1)}, r"grid must be .* = 16 tokens, got \(4, 4, 1\)"),
        ({"ratio": "half"}, r"ratio must be in \[0, 1\), got 'half'"),
        ({"alpha": None}, r"alpha must be in \[0, 1\], got None"),
        ({"window": 2.0}, "window must be an integer of at least 1, got 2.0"),
        (
            {"destination": "random", "seeds": "12"},
            r"seeds must be 2 integers in .*, one per image, got '12'",
        ),
        ({"backend": ["gather"]}, "backend must be one of gather, matmul, triton, got"),
    ],
)
def test_bad_values_are_refused_by_name(options, message):
    options = {"grid": (4, 4), "window": 2, "ratio": 0.5, **options}
    with pytest.raises(ValueError, match=message):
        retom.merge_plan(tokens((4, 4)), options.pop("grid"), **options)


@pytest.mark.parametrize("x", [None, [[1.0]], torch.zeros(2, 16), torch.zeros(2, 16, 3, dtype=torch.int64)])
def test_tokens_must_be_float_and_three_dimensional(x):
    with pytest.raises(ValueError, match=r"x must be a float tensor \[B, N, C\], got"):
        retom.merge_plan(x, (4, 4), window=2, ratio=0.5)


def test_wrong_shapes_and_backends_are_refused():
    plan = retom.merge_plan(tokens((4, 4)), (4, 4), window=2, ratio=0.5)
    with pytest.raises(ValueError, match=r"shape \[2, 16, C\], got \[2, 15, 6\]"):
        plan.merge(torch.zeros(2, 15, 6))
    with pytest.raises(ValueError, match=r"shape \[2, 8, C\]"):
        plan.unmerge(torch.zeros(2, 16, 6))
    with pytest.raises(ValueError, match="did you mean 'gather'"):
        plan.on("gahter")

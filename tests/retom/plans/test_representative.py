"""Similarity and the number of sources."""

import pytest
import torch
import torch.nn.functional as F
from torch.profiler import ProfilerActivity, profile

from retom.plans.representative import inverse_norms, mean_similarity, num_sources, rank
from retom.plans.windows import tile


def quadratic(x, tokens):
    """Eq. 1 as written, with the N_W x N_W matrix."""
    unit = F.normalize(x.double(), dim=-1)[:, tokens]  # [B, windows, n, C]
    gram = unit @ unit.transpose(-1, -2)
    return (gram.sum(-1) - gram.diagonal(dim1=-2, dim2=-1)) / (tokens.shape[1] - 1)


@pytest.mark.parametrize("window", [2, 3, 8])
@pytest.mark.parametrize("channels", [1, 5, 320])
def test_the_linear_form_is_the_quadratic_one(window, channels):
    grid = (9, 11)
    x = torch.randn(2, 99, channels, generator=torch.Generator().manual_seed(0)) * 3 + 1
    for region in tile(grid, window):
        if region.size > 1:
            tokens = region.tokens(grid, "cpu")
            linear = mean_similarity(x, inverse_norms(x), region, grid)
            torch.testing.assert_close(linear.double(), quadratic(x, tokens), atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_measured_in_float32_strip_by_strip(dtype):
    grid = (64, 64)
    x = torch.randn(2, 4096, 320, generator=torch.Generator().manual_seed(0)).to(dtype)  # five strips
    assert torch.equal(inverse_norms(x), inverse_norms(x.float()))
    (region,) = tile(grid, 4)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as traced:
        half = mean_similarity(x, inverse_norms(x), region, grid)
    torch.testing.assert_close(half, mean_similarity(x.float(), inverse_norms(x), region, grid), rtol=1e-5, atol=1e-6)
    whole = 4 * x.numel()
    assert (
        max(event.nbytes() for event in traced.profiler.kineto_results.events() if event.name() == "[memory]")
        < whole / 4
    )


def test_a_zero_token_is_similar_to_nothing():
    x = torch.ones(1, 4, 3)
    x[0, 2] = 0
    (region,) = tile((2, 2), 2)
    mean = mean_similarity(x, inverse_norms(x), region, (2, 2))[0, 0]
    torch.testing.assert_close(mean, torch.tensor([2 / 3, 2 / 3, 0, 2 / 3]))


@pytest.mark.parametrize(
    ("ratio", "size", "expected"),
    [(0.29, 100, 29), (0.5, 4, 2), (0.5, 3, 1), (0.9, 4, 3), (0.999, 4, 3), (0.25, 3, 0), (0.57, 100, 57), (0.5, 1, 0)],
)
def test_sources_are_the_floor_of_the_decimal_product(ratio, size, expected):
    assert num_sources(ratio, size) == expected


def test_ranks_break_ties_towards_the_lower_index():
    score = torch.tensor([[[0.5, 0.9, 0.5, 0.9, 0.1]]])
    assert rank(score, torch.tensor([[4]])).tolist() == [[[4, 1, 3, 0, 2]]]

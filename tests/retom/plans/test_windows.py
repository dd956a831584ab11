"""Tiling: every token is in exactly one window, for any grid."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from retom.plans.windows import check_grid, check_window, tile

SIDES = st.integers(1, 24)


@given(SIDES, SIDES, st.integers(1, 30))
def test_every_token_is_in_one_window(height, width, window):
    tokens = [region.tokens((height, width), "cpu").flatten() for region in tile((height, width), window)]
    assert torch.cat(tokens).sort().values.tolist() == list(range(height * width))


@given(SIDES, SIDES, st.integers(1, 30))
def test_no_window_is_larger_than_asked_or_than_the_grid(height, width, window):
    for region in tile((height, width), window):
        assert region.height <= min(window, height)
        assert region.width <= min(window, width)


def test_windows_start_at_the_top_left_and_the_rest_is_at_the_edges():
    sizes = {(r.top, r.left): (r.num_windows, r.height, r.width) for r in tile((5, 7), 2)}
    assert sizes == {(0, 0): (6, 2, 2), (0, 6): (2, 2, 1), (4, 0): (3, 1, 2), (4, 6): (1, 1, 1)}


def test_tokens_of_a_window_are_its_tile():
    (region,) = tile((4, 4), 2)
    assert region.tokens((4, 4), "cpu").tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


def test_view_and_tokens_name_the_same_places():
    grid = (5, 7)
    number = torch.arange(35).view(1, 35)
    for region in tile(grid, 3):
        tiles = region.view(number, grid).permute(0, 1, 3, 2, 4).reshape(region.num_windows, region.size)
        assert torch.equal(tiles, region.tokens(grid, "cpu"))


@pytest.mark.parametrize("window", [0, -1, 1.5, True, "2", {"down": 2, "mid": 8}, {"down": 2, "mid": 8, "up": 0}])
def test_bad_windows_are_refused(window):
    with pytest.raises(ValueError, match="window must"):
        check_window(window)


def test_a_grid_must_hold_the_tokens():
    with pytest.raises(ValueError, match=r"grid must be .* = 12 tokens, got \(3, 5\)"):
        check_grid((3, 5), 12)

"""ToMeSD as plans: against the `tomesd` package, against plain loops, and its randomness."""

import math
from unittest.mock import patch

import pytest
import tomesd
import torch
from tomesd.merge import bipartite_soft_matching_random2d

import retom
from baselines.tomesd import ToMeSD
from tests.baselines.compiling import check_one_graph_per_kind_of_step
from tests.baselines.generating import assert_same_images, context, denoise, generate, snapshot, tokens

GRIDS = [(16, 16), (18, 14), (17, 15), (5, 3), (64, 64)]


def package(x, grid, ratio, sx=2, sy=2, choice=None):
    """The package's merge and unmerge; `choice` [rows, columns] replaces the result of its randint."""
    removed = int(x.shape[1] * ratio)
    options = {"no_rand": choice is None, "generator": torch.Generator()}
    with patch.object(torch, "randint", lambda *_args, **_kwargs: choice[..., None]):
        return bipartite_soft_matching_random2d(x, grid[1], grid[0], sx, sy, removed, **options)


def chosen(plan, grid, sides=(2, 2)):
    """The position of each destination in its window, [B, rows, columns]: the last slots are the destinations."""
    rows, columns = grid[0] // sides[0], grid[1] // sides[1]
    token = plan.dst_index[:, -rows * columns :]
    row, column = token // grid[1], token % grid[1]
    place = torch.full((len(token), rows, columns), -1)
    for image in range(len(token)):
        inside = (row[image] % sides[0]) * sides[1] + column[image] % sides[1]
        place[image, row[image] // sides[0], column[image] // sides[1]] = inside
    return place


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
def test_equals_the_package_bit_for_bit_without_randomness(grid, ratio):
    x, y = tokens(2, grid), tokens(2, grid, channels=20, seed=1)
    plan = ToMeSD(ratio=ratio, use_rand=False).plan(x, grid, context((0, 0)))
    merge, unmerge = package(x, grid, ratio)
    assert plan.num_merged == grid[0] * grid[1] - int(grid[0] * grid[1] * ratio)
    assert torch.equal(plan.merge(y), merge(y))
    assert torch.equal(plan.unmerge(merge(y)), unmerge(merge(y)))


def test_equals_the_package_with_windows_that_are_not_square():
    grid, x = (18, 14), tokens(1, (18, 14))
    plan = ToMeSD(ratio=0.6, sx=3, sy=4, use_rand=False).plan(x, grid, context())
    merge, _ = package(x, grid, 0.6, sx=3, sy=4)
    assert torch.equal(plan.merge(x), merge(x))


@pytest.mark.parametrize("grid", GRIDS[:3])
def test_equals_the_package_given_the_same_draw(grid):
    x = tokens(3, grid)
    plan = ToMeSD().plan(x, grid, context((5, 6, 7)))
    places = chosen(plan, grid)
    assert not torch.equal(places[0], places[1])
    for image in range(3):
        row = x[image : image + 1]
        merge, unmerge = package(row, grid, 0.5, choice=places[image])
        assert torch.equal(plan.merge(x)[image], merge(row)[0])
        assert torch.equal(plan.unmerge(plan.merge(x))[image], unmerge(merge(row))[0])


def test_a_plain_loop_reading_of_the_paper():
    grid, x = (4, 6), tokens(1, (4, 6))[0]
    unit = torch.nn.functional.normalize(x, dim=-1)
    destinations = [row * 6 + column for row in range(0, 4, 2) for column in range(0, 6, 2)]
    links = []
    for source in sorted(set(range(24)) - set(destinations)):
        similarity, nearest = max((float(unit[source] @ unit[token]), token) for token in destinations)
        links.append((similarity, source, nearest))
    links = sorted(links, reverse=True)[:12]
    expected = x.clone()
    for token in destinations:
        cluster = [token] + [source for _, source, nearest in links if nearest == token]
        expected[cluster] = x[cluster].mean(dim=0)
    plan = ToMeSD(use_rand=False).plan(x[None], grid, context())
    torch.testing.assert_close(plan.unmerge(plan.merge(x[None]))[0], expected)


def test_destinations_are_uniform_as_the_package_draws_them():
    grid, seeds = (8, 8), range(2000)
    x = tokens(1, grid).expand(len(seeds), -1, -1)
    places = chosen(ToMeSD().plan(x, grid, context(tuple(seeds))), grid).flatten(1)
    counts = torch.stack([(places == place).sum(0) for place in range(4)]).double()  # [4, windows]
    chi = ((counts - 500) ** 2 / 500).sum(0)
    assert chi.max() < 21.1  # 3 degrees of freedom, one window in 10,000 above
    both = torch.stack([(places[:, 0] * 4 + places[:, 1] == pair).sum() for pair in range(16)]).double()
    assert ((both - 125) ** 2 / 125).sum() < 44.3  # 15 degrees of freedom, one in 10,000: windows are independent


def test_a_draw_is_a_function_of_image_step_and_layer_alone():
    grid, x = (8, 8), tokens(3, (8, 8))
    together = ToMeSD().plan(x, grid, context((1, 2, 3)))
    turned = ToMeSD().plan(x.flip(0), grid, context((3, 2, 1)))
    alone = ToMeSD().plan(x[1:2], grid, context((2,)))
    assert torch.equal(together.assign, turned.assign.flip(0))
    assert torch.equal(together.assign[1:2], alone.assign)
    for changes in ({"seeds": (4, 2, 3)}, {"step": 4}, {"layer": 5}):
        other = ToMeSD().plan(x, grid, context(**({"seeds": (1, 2, 3)} | changes)))
        assert not torch.equal(together.dst_index[0], other.dst_index[0])


def test_odd_batches_keep_their_randomness():
    x = tokens(1, (8, 8))
    corners = ToMeSD(use_rand=False).plan(x, (8, 8), context((9,)))
    assert not torch.equal(ToMeSD().plan(x, (8, 8), context((9,))).dst_index, corners.dst_index)


def test_windows_by_layer_type():
    method = ToMeSD(window={"down": 2, "mid": 4, "up": 2}, use_rand=False)
    x = tokens(1, (8, 8))
    for layer_type, destinations in (("down", 16), ("mid", 4)):
        plan = method.plan(x, (8, 8), context(layer_type=layer_type))
        tops = set(range(0, 64)) & set(plan.dst_index[0, -destinations:].tolist())
        side = 8 // math.isqrt(destinations)
        assert tops == {row * 8 + column for row in range(0, 8, side) for column in range(0, 8, side)}
        assert plan.num_merged == 32


def test_a_window_larger_than_the_grid_is_cut_to_it():
    plan = ToMeSD(window=16, ratio=0.9).plan(tokens(1, (4, 4)), (4, 4), context())
    assert plan.num_merged == 2


def test_never_more_than_the_sources_are_merged():
    plan = ToMeSD(ratio=0.75).plan(tokens(1, (1, 8)), (1, 8), context())
    assert plan.num_merged == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"ratio": 0.8},
            r"ratio must be at most 0.75 with sx=2, sy=2 .*got 0.8; use a smaller ratio or larger windows",
        ),
        ({"ratio": 1.2}, r"ratio must be in \[0, 1\), got 1.2"),
        ({"ratio": 0.8, "window": {"down": 4, "mid": 8, "up": 2}}, "at most 0.75 with window up=2"),
        ({"ratio": 0.5, "sx": 1, "sy": 1}, "at most 0 with sx=1, sy=1"),
        ({"sx": 0}, "sx must be an integer of at least 1, got 0"),
        ({"window": 4, "sx": 4}, "pass window or sx and sy, not both"),
        ({"window": 0}, "window must be an integer of at least 1"),
        ({"max_downsample": 0}, "max_downsample must be None or an integer of at least 1"),
        ({"targets": ("value",)}, "targets must be one or more of"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ToMeSD(**options)


def test_coarser_grids_are_left_alone_and_ratio_zero_merges_nothing():
    x = tokens(1, (8, 8))
    assert ToMeSD().plan(x, (8, 8), context(downsample=2)) is None
    assert ToMeSD(max_downsample=None).plan(x, (8, 8), context(downsample=8)).num_merged == 32
    assert ToMeSD(ratio=0).plan(x, (8, 8), context()).is_identity
    assert not ToMeSD(ratio=0).merges


@pytest.mark.parametrize("size", [(32, 32), (18, 14), (17, 15)])
def test_the_denoiser_equals_the_packages_bit_for_bit(tiny_pipe, size):
    unet, depth = tiny_pipe.unet, 4 if size[0] == 32 else 2
    plain = denoise(unet, size)
    method = ToMeSD(use_rand=False, max_downsample=depth, targets=("self", "cross", "ff"))
    with retom.patched(unet, method):
        ours = denoise(unet, size)
    tomesd.apply_patch(unet, use_rand=False, max_downsample=depth, merge_crossattn=True, merge_mlp=True)
    theirs = denoise(unet, size)
    tomesd.remove_patch(unet)
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, plain)


def test_images_of_the_pipeline_equal_the_packages_and_the_patch_comes_off(tiny_pipe):
    before, plain = snapshot(tiny_pipe.unet), generate(tiny_pipe, [1])
    with retom.patched(tiny_pipe, ToMeSD(use_rand=False)):
        ours = generate(tiny_pipe, [1])
        merged = [site for site in retom.report(tiny_pipe) if site["merged"] < site["tokens"]]
    assert snapshot(tiny_pipe.unet) == before
    assert torch.equal(generate(tiny_pipe, [1]), plain)
    assert [(site["tokens"], site["merged"]) for site in merged] == [(1024, 512)] * 5
    tomesd.apply_patch(tiny_pipe, use_rand=False)
    assert torch.equal(ours, generate(tiny_pipe, [1]))


def test_an_image_does_not_depend_on_its_batch(tiny_pipe):
    with retom.patched(tiny_pipe, ToMeSD()):
        images = {}
        for seeds in ([1, 2], [2, 1], [1], [2]):
            retom.set_seeds(tiny_pipe, seeds)
            images[tuple(seeds)] = generate(tiny_pipe, seeds)
        retom.set_seeds(tiny_pipe, [3])
        other = generate(tiny_pipe, [1])
    assert_same_images(images[1, 2][:1], images[2, 1][1:], other)
    assert_same_images(images[1, 2][:1], images[1,], other)
    assert_same_images(images[2, 1][1:], images[1,], other)


@pytest.mark.parametrize("use_rand", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_it_compiles_as_one_graph_for_each_kind_of_step(use_rand):
    check_one_graph_per_kind_of_step(ToMeSD(use_rand=use_rand), steps=3, most=4)

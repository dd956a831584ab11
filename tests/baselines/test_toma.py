"""ToMA against a plain-loop reading of its paper, and its laws."""

import pytest
import torch
import torch.nn.functional as F

import retom
from baselines.toma import ToMA, cut, facility_location
from tests.baselines.compiling import check_one_graph_per_kind_of_step
from tests.baselines.generating import assert_same_images, context, denoise, generate, snapshot, tokens


def greedy(unit: torch.Tensor, count: int) -> list[int]:
    """Facility location by its definition: every selected token increases sum_i max_j s_ij the most.

    The gain of two tokens nearest to each other is the same, so ties go to the lower index.
    """
    similarity = (unit.double() @ unit.double().T).tolist()
    every = range(len(unit))
    sums = [sum(similarity[i][j] for i in every) for j in every]
    picks = [min(j for j in every if sums[j] > max(sums) - 1e-6 * len(unit))]
    while len(picks) < count:
        best = [max(similarity[i][j] for j in picks) for i in every]
        gain = {j: sum(max(0.0, similarity[i][j] - best[i]) for i in every) for j in every if j not in picks}
        picks.append(min(j for j in gain if gain[j] > max(gain.values()) - 1e-6 * len(unit)))
    return sorted(picks)


def by_loops(x: torch.Tensor, numbers: list[int], count: int, scale: float, pinv: bool) -> tuple:
    """Destinations, merging [m, n] and unmerging [n, m] of one window of one image."""
    unit = F.normalize(x[numbers].double(), dim=-1)
    picks = greedy(unit, count)
    weight = torch.zeros(count, len(numbers), dtype=torch.float64)
    for i in range(len(numbers)):
        score = torch.stack([scale * unit[pick] @ unit[i] for pick in picks])
        weight[:, i] = (score - score.max()).exp() / (score - score.max()).exp().sum()
    merge = torch.stack([row / row.sum() for row in weight])
    return [numbers[pick] for pick in picks], merge, torch.linalg.pinv(merge) if pinv else weight.T


def windows(grid: tuple[int, int], region: str, side: int) -> list[list[int]]:
    """Tokens of every window, by plain loops."""
    height, width = grid
    tall = {"global": height}.get(region, side)
    wide = side if region == "tile" else width
    found: dict[tuple[int, int], list[int]] = {}
    for token in range(height * width):
        found.setdefault((token // width // tall, token % width // wide), []).append(token)
    return list(found.values())


@pytest.mark.parametrize("region", ["tile", "stripe", "global"])
@pytest.mark.parametrize(("scale", "unmerge"), [(3.0, "transpose"), (1000.0, "transpose"), (3.0, "pinv")])
@pytest.mark.parametrize(("grid", "ratio"), [((4, 6), 0.5), ((5, 7), 0.75)])
def test_a_plain_loop_reading_of_the_paper(region, scale, unmerge, grid, ratio):
    side = 3
    x, other = tokens(2, grid), tokens(2, grid, seed=1)
    method = ToMA(ratio=ratio, region=region, side=side, scale=scale, unmerge=unmerge)
    plan = method.plan(x, grid, context((0, 0)))
    merged, out = plan.merge(other), plan.unmerge(plan.merge(other))
    for image in range(2):
        chosen = []
        for numbers in windows(grid, region, side):
            count = len(numbers) - int(ratio * len(numbers))
            picks, merge, back = by_loops(x[image], numbers, count, scale, unmerge == "pinv")
            chosen += picks
            slots = [plan.dst_index[image].tolist().index(pick) for pick in picks]
            expected = merge @ other[image, numbers].double()
            torch.testing.assert_close(merged[image, slots].double(), expected, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(out[image, numbers].double(), back @ expected, atol=1e-3, rtol=1e-3)
        assert sorted(chosen) == sorted(plan.dst_index[image].tolist())
    assert plan.num_merged == len(chosen)


def test_regions_cover_the_grid_once():
    for region, count in (("tile", 6), ("stripe", 2), ("global", 1)):
        regions = cut((5, 7), region, 3)
        numbers = [part.tokens((5, 7), "cpu") for part in regions]
        assert sorted(torch.cat([part.flatten() for part in numbers]).tolist()) == list(range(35))
        assert sum(len(part) for part in numbers) == count


def test_of_two_tokens_nearest_to_each_other_the_lower_one_is_picked():
    for seed in range(20):
        pairs = tokens(1, (1, 3), seed=seed).repeat_interleave(2, dim=1)
        noisy = F.normalize(pairs + 1e-8 * tokens(1, (1, 6), seed=50 + seed), dim=-1)
        assert facility_location(noisy, 3).tolist() == [[0, 2, 4]]


def test_equal_tokens_are_picked_once_each():
    picks = facility_location(F.normalize(torch.ones(3, 9, 4), dim=-1), 6)
    assert all(len(set(row)) == 6 for row in picks.tolist())


def test_pseudo_inverse_gives_back_what_was_merged():
    x = tokens(2, (8, 8))
    plan = ToMA(unmerge="pinv", scale=10.0, side=4).plan(x, (8, 8), context((0, 0)))
    y = tokens(2, (4, 8), seed=3)
    torch.testing.assert_close(plan.merge(plan.unmerge(y)), y, atol=1e-4, rtol=1e-4)


def test_images_of_a_batch_are_independent_in_any_order():
    x = tokens(3, (8, 8))
    together = ToMA(side=4).plan(x, (8, 8), context((1, 2, 3)))
    turned = ToMA(side=4).plan(x.flip(0), (8, 8), context((3, 2, 1)))
    torch.testing.assert_close(turned.merge(x.flip(0)).flip(0), together.merge(x), atol=1e-6, rtol=1e-5)
    for image in range(3):
        row = x[image : image + 1]
        alone = ToMA(side=4).plan(row, (8, 8), context((image,)))
        assert torch.equal(alone.dst_index[0], together.dst_index[image])
        torch.testing.assert_close(alone.merge(row)[0], together.merge(x)[image], atol=1e-6, rtol=1e-5)


def test_the_first_samples_destinations_serve_all_when_asked_as_released():
    x = tokens(2, (8, 8))
    method = ToMA(side=4, first_sample_only=True)
    plan, own = method.plan(x, (8, 8), context((0, 0))), ToMA(side=4).plan(x, (8, 8), context((0, 0)))
    assert torch.equal(plan.dst_index[0], plan.dst_index[1])
    assert torch.equal(plan.dst_index[0], own.dst_index[0])
    assert not torch.equal(own.dst_index[0], own.dst_index[1])
    merge = plan.blocks[0][0]
    assert not torch.equal(merge[0], merge[1])  # weights are every row's own
    assert (method.batch_limit, ToMA().batch_limit) == (1, None)


def test_destinations_and_weights_are_cached_on_separate_periods():
    method, memory = ToMA(side=4, destination_period=4, weight_period=2, scale=3.0), {}
    assert method.period == 2
    plans = {}
    for step in (0, 2, 4):
        x = tokens(1, (8, 8), seed=step)
        plans[step] = method.plan(x, (8, 8), context(step=step, memory=memory))
        fresh = method.plan(x, (8, 8), context(step=step))
        assert torch.equal(plans[step].dst_index, fresh.dst_index) == (step != 2)
    assert torch.equal(plans[0].dst_index, plans[2].dst_index)
    assert not torch.equal(plans[0].blocks[0][0], plans[2].blocks[0][0])
    assert not torch.equal(plans[0].dst_index, plans[4].dst_index)


def test_blocks_of_one_transformer_share_a_plan():
    from diffusers.models.transformers.transformer_2d import Transformer2DModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Transformer2DModel(2, 8, in_channels=16, num_layers=2, norm_num_groups=8).eval()
    asked = []

    class Watched(ToMA):
        def plan(self, metric, grid, context):
            asked.append(context.name)
            return super().plan(metric, grid, context)

    for share, blocks in ((True, 1), (False, 2)):
        asked.clear()
        with retom.patched(model, Watched(side=2, share_plan=share)), torch.no_grad():
            model(torch.randn(1, 16, 4, 4, generator=torch.Generator().manual_seed(0)), return_dict=False, timestep=1)
            assert [site["merged"] for site in retom.report(model)] == [8, 8]
        assert len(asked) == blocks


def test_ratio_zero_is_the_identity_and_small_windows_are_not_merged():
    x = tokens(1, (5, 5))
    plan = ToMA(ratio=0.0).plan(x, (5, 5), context())
    assert plan.is_identity
    assert torch.equal(plan.unmerge(plan.merge(x)), x)
    assert not ToMA(ratio=0.0).merges
    edged = ToMA(side=4, ratio=0.5).plan(x, (5, 5), context())
    assert torch.equal(edged.unmerge(edged.merge(x))[0, 24], x[0, 24])  # a corner of one token
    assert ToMA(max_downsample=1).plan(x, (5, 5), context(downsample=2)) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 1.0}, r"ratio must be in \[0, 1\), got 1.0"),
        ({"region": "tiles"}, "region must be one of tile, stripe, global, got 'tiles'"),
        ({"unmerge": "inverse"}, "unmerge must be one of transpose, pinv, got 'inverse'"),
        ({"side": 0}, "side must be an integer of at least 1, got 0"),
        ({"scale": 0.0}, r"scale must be in \(0, inf\), got 0.0"),
        ({"destination_period": 7}, "destination_period must be a multiple of weight_period 5, .* got 7"),
        ({"weight_period": 0}, "weight_period must be an integer of at least 1, got 0"),
        ({"max_downsample": 0}, "max_downsample must be None or an integer of at least 1"),
        ({"targets": ("value",)}, "targets must be one or more of"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ToMA(**options)


def test_images_merge_everywhere_and_the_patch_comes_off(tiny_pipe):
    before, plain = snapshot(tiny_pipe.unet), generate(tiny_pipe, [1])
    with retom.patched(tiny_pipe, ToMA()):
        images = {seeds: generate(tiny_pipe, list(seeds)) for seeds in ((1, 2), (2, 1), (1,), (3,))}
        report = retom.report(tiny_pipe)
    assert snapshot(tiny_pipe.unet) == before
    assert torch.equal(generate(tiny_pipe, [1]), plain)
    assert all(2 * site["merged"] == site["tokens"] for site in report)
    assert not torch.equal(images[1,], plain)
    assert_same_images(images[1, 2][:1], images[1,], images[3,])
    assert_same_images(images[2, 1][1:], images[1,], images[3,])


def test_ratio_zero_leaves_the_denoiser_bit_for_bit(tiny_pipe):
    plain = denoise(tiny_pipe.unet)
    with retom.patched(tiny_pipe, ToMA(ratio=0.0)):
        assert torch.equal(denoise(tiny_pipe.unet), plain)


def test_it_compiles_as_one_graph_for_each_kind_of_step():
    # steps 0 and 1, new destinations, new weights, neither; and step 0 of a later generation
    check_one_graph_per_kind_of_step(ToMA(side=4, destination_period=4, weight_period=2), steps=6, most=6)

"""Importance-based merging against a plain-loop reading of its paper, and where its importance is undefined."""

import pytest
import torch
import torch.nn.functional as F

import retom
from baselines.ibtm import IBTM, importance
from retom.rng import uniform_index
from tests.baselines.compiling import check_one_graph_per_kind_of_step
from tests.baselines.generating import assert_same_images, context, generate, snapshot, tokens


def output(images: int, size: tuple[int, int], seed: int = 7) -> torch.Tensor:
    """The output of a denoiser for both halves of guidance, [2 n, 4, h, w]."""
    return torch.randn(2 * images, 4, *size, generator=torch.Generator().manual_seed(seed))


def drawn_order(seed: int, num_tokens: int, step: int = 3, layer: int = 2) -> list[int]:
    """The tokens in the random order of an image."""
    key = uniform_index(torch.tensor([seed]), step, layer, torch.arange(num_tokens), 1 << 31)[0].tolist()
    return sorted(range(num_tokens), key=lambda token: -key[token])


def by_loops(x, important: set[int], order: list[int], count: int, removed: int) -> dict[int, list[int]]:
    """Clusters of one image [N, C]: destination -> its tokens; independent tokens have their own clusters."""
    unit = F.normalize(x.double(), dim=-1)
    destinations = [token for token in order if token in important][:count]
    links = []
    for source in sorted(set(range(len(x))) - set(destinations)):
        similarity, nearest = max((float(unit[source] @ unit[token]), token) for token in destinations)
        links.append((source in important, -similarity, source, nearest))
    clusters = {token: [token] for token in destinations}
    for place, (_, _, source, nearest) in enumerate(sorted(links)):
        if place < removed:
            clusters[nearest].append(source)
        else:
            clusters[source] = [source]
    return clusters


def check(plan, x, image: int, clusters: dict[int, list[int]]) -> None:
    assert sorted(plan.dst_index[image].tolist()) == sorted(clusters)
    out = plan.unmerge(plan.merge(x))[image]
    for members in clusters.values():
        torch.testing.assert_close(out[members], x[image, members].mean(0).expand(len(members), -1))


@pytest.mark.parametrize(("ratio", "pool"), [(0.5, 0.5), (0.5, 0.75), (0.25, 0.5), (0.75, 0.25)])
def test_a_plain_loop_reading_of_the_paper(ratio, pool):
    grid, seeds, noise = (4, 6), (5, 6), output(2, (4, 6))
    x = tokens(4, grid)
    plan = IBTM(ratio=ratio, pool=pool).plan(x, grid, context(seeds * 2, output=noise))
    assert plan.num_merged == 24 - int(ratio * 24)
    for row in range(4):
        image = row % 2
        size = [float((noise[image] - noise[image + 2])[:, t // 6, t % 6].square().sum().sqrt()) for t in range(24)]
        ranked = sorted(range(24), key=lambda token: -size[token])
        important = set(ranked[: int(pool * 24)])
        check(plan, x, row, by_loops(x[row], important, drawn_order(seeds[image], 24), 6, int(ratio * 24)))


@pytest.mark.parametrize(
    ("seeds", "made"),
    [
        ((5, 5), None),  # step 0
        ((5, 6), output(1, (4, 4))),  # no halves: two images without guidance
        ((5,), output(1, (4, 4))[:1]),  # an odd number of rows
        ((5, 5), torch.randn(2, 16, 4)),  # a denoiser that returns tokens
    ],
)
def test_without_importance_every_token_is_in_the_pool(seeds, made):
    x = tokens(len(seeds), (4, 4))
    plan = IBTM().plan(x, (4, 4), context(seeds, output=made))
    for row, seed in enumerate(seeds):
        check(plan, x, row, by_loops(x[row], set(range(16)), drawn_order(seed, 16), 4, 8))


def test_importance_is_pooled_to_the_sites_grid_and_shared_by_the_halves():
    noise = output(1, (8, 8))
    found = importance(noise, (4, 4))
    size = (noise[0] - noise[1]).square().sum(0).sqrt()
    for row in range(4):
        for column in range(4):
            block = size[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            torch.testing.assert_close(found[0, row * 4 + column], block.mean())
    assert torch.equal(found[0], found[1])
    assert importance(output(1, (9, 7)).half(), (5, 4)).shape == (2, 20)


def test_destinations_follow_the_importance_and_the_draw():
    x = tokens(2, (8, 8))
    base = IBTM().plan(x, (8, 8), context((1, 1), output=output(1, (8, 8))))
    assert torch.equal(base.dst_index[0, :16], base.dst_index[1, :16])  # both halves draw the same
    for changes in ({"output": output(1, (8, 8), seed=8)}, {"seeds": (2, 2)}, {"step": 4}, {"layer": 5}):
        values = {"seeds": (1, 1), "output": output(1, (8, 8))} | changes
        assert not torch.equal(base.dst_index, IBTM().plan(x, (8, 8), context(**values)).dst_index)


def test_images_of_a_batch_are_independent_in_any_order():
    x, noise, seeds = tokens(6, (8, 8)), output(3, (8, 8)), torch.tensor([1, 2, 3])
    together = IBTM().plan(x, (8, 8), context((1, 2, 3) * 2, output=noise))
    for images in ([2, 1, 0], [1], [0, 2]):
        rows = images + [image + 3 for image in images]
        given = context(tuple(seeds[images].tolist()) * 2, output=noise[rows])
        assert torch.equal(IBTM().plan(x[rows], (8, 8), given).assign, together.assign[rows])


def test_ratio_zero_is_the_identity_and_coarser_grids_are_left_alone():
    x = tokens(2, (4, 4))
    assert IBTM(ratio=0.0).plan(x, (4, 4), context((0, 0))).is_identity
    assert not IBTM(ratio=0.0).merges
    assert IBTM().plan(x, (4, 4), context((0, 0), downsample=2)) is None
    assert IBTM(max_downsample=None).plan(x, (4, 4), context((0, 0), downsample=2)).num_merged == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 0.8}, r"ratio must be in \[0, 0.75\] with destinations=0.25 .* got 0.8"),
        ({"ratio": -0.1}, "ratio must be in"),
        ({"destinations": 0.0}, r"destinations must be in \(0, 1\), got 0.0"),
        ({"pool": 0.2}, r"pool must be in \[0.25, 1\].* got 0.2"),
        ({"max_downsample": 0}, "max_downsample must be None or an integer of at least 1"),
        ({"targets": ("value",)}, "targets must be one or more of"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        IBTM(**options)


def test_images_merge_at_the_top_and_the_patch_comes_off(tiny_pipe):
    before, plain = snapshot(tiny_pipe.unet), generate(tiny_pipe, [1])
    with retom.patched(tiny_pipe, IBTM()):
        images = {}
        for seeds in ((1, 2), (2, 1), (1,), (3,)):
            retom.set_seeds(tiny_pipe, seeds)
            images[seeds] = generate(tiny_pipe, list(seeds))
        report = retom.report(tiny_pipe)
        assert generate(tiny_pipe, [3], guidance=1.0).isfinite().all()
    assert snapshot(tiny_pipe.unet) == before
    assert torch.equal(generate(tiny_pipe, [1]), plain)
    assert [site["merged"] for site in report if site["tokens"] == 1024] == [512] * 5
    assert not torch.equal(images[1,], plain)
    assert_same_images(images[1, 2][:1], images[1,], images[3,])
    assert_same_images(images[2, 1][1:], images[1,], images[3,])


def test_the_pipeline_hands_over_the_last_output(tiny_pipe):
    seen = []

    class Watched(IBTM):
        def plan(self, metric, grid, context):
            seen.append((context.step, None if context.output is None else list(context.output.shape)))
            return super().plan(metric, grid, context)

    with retom.patched(tiny_pipe, Watched(ratio=0.25)):
        generate(tiny_pipe, [1])
    assert seen[0] == (0, None)
    assert {shape is None for step, shape in seen if step > 0} == {False}
    assert seen[-1][1] == [2, 4, 32, 32]


def test_it_compiles_as_one_graph_for_each_kind_of_step():
    # steps 0, 1 and all others; and step 0 of a later generation
    check_one_graph_per_kind_of_step(IBTM(), steps=3, most=4)

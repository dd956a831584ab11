"""SiTo against a plain-loop reading of its paper, its noise, and its laws."""

import pytest
import torch

import retom
from baselines.sito import SiTo, gaussian, similarity_sums
from tests.baselines.compiling import check_one_graph_per_kind_of_step
from tests.baselines.generating import assert_same_images, context, denoise, generate, snapshot, tokens


def prune(x: torch.Tensor, grid: tuple[int, int], noise: list[float], alpha: float, pruned: int) -> dict[int, int]:
    """One image [N, C]: the base token that each pruned token is copied from, by the paper's three stages."""
    unit = torch.nn.functional.normalize(x.double(), dim=-1)
    similarity = (unit @ unit.T).tolist()
    score = [sum(row) + alpha * extra for row, extra in zip(similarity, noise, strict=True)]
    base = []
    for top in range(0, grid[0] // 2 * 2, 2):
        for left in range(0, grid[1] // 2 * 2, 2):
            window = [row * grid[1] + column for row in (top, top + 1) for column in (left, left + 1)]
            base.append(max(window, key=lambda token: score[token]))
    nearest = {
        token: max(base, key=lambda other: similarity[token][other]) for token in range(len(x)) if token not in base
    }
    ranked = sorted(nearest, key=lambda token: -similarity[token][nearest[token]])
    return {token: nearest[token] for token in ranked[:pruned]}


@pytest.mark.parametrize("grid", [(4, 6), (5, 7)])
@pytest.mark.parametrize("ratio", [0.3, 0.6])
@pytest.mark.parametrize("alpha", [0.0, 3.0])
def test_a_plain_loop_reading_of_the_paper(grid, ratio, alpha):
    x = tokens(2, grid, channels=5)
    here = context((3, 4))
    plan = SiTo(ratio=ratio, noise_alpha=alpha).plan(x, grid, here)
    noise = gaussian(here, x.shape[1]).tolist()
    count = int(ratio * x.shape[1])
    assert plan.num_merged == x.shape[1] - count
    for image in range(2):
        copied = prune(x[image], grid, noise[image], alpha, count)
        assert len(copied) == count
        source = [copied.get(token, token) for token in range(x.shape[1])]
        assert plan.dst_index[image].gather(0, plan.assign[image]).tolist() == source
        assert torch.equal(plan.unmerge(plan.merge(x))[image], x[image, source])


def test_sums_of_similarities_need_no_matrix():
    x = tokens(2, (6, 6))
    unit = torch.nn.functional.normalize(x.double(), dim=-1)
    torch.testing.assert_close(similarity_sums(x).double(), (unit @ unit.mT).sum(-1), rtol=1e-5, atol=1e-5)


def test_noise_is_normal_and_a_function_of_seed_step_and_layer():
    noise = gaussian(context((1, 2)), 20_000)
    assert noise.mean().abs() < 0.03
    assert abs(noise.std() - 1) < 0.03
    assert torch.isfinite(noise).all()
    assert abs(torch.corrcoef(noise)[0, 1]) < 0.03
    assert torch.equal(gaussian(context((2, 1)), 20_000), noise.flip(0))
    for change in ({"step": 4}, {"layer": 3}):
        assert abs(torch.corrcoef(torch.stack([gaussian(context((1,), **change), 20_000)[0], noise[0]]))[0, 1]) < 0.03


def test_both_halves_of_guidance_have_the_same_noise_and_steps_have_others():
    x = tokens(1, (8, 8)).repeat(2, 1, 1)
    method = SiTo(noise_alpha=100.0)
    plan = method.plan(x, (8, 8), context((5, 5)))
    assert torch.equal(plan.assign[0], plan.assign[1])
    assert not torch.equal(plan.dst_index, method.plan(x, (8, 8), context((5, 5), step=4)).dst_index)
    assert not torch.equal(plan.dst_index, method.plan(x, (8, 8), context((6, 6))).dst_index)


def test_images_are_planned_by_themselves():
    x = tokens(3, (8, 8))
    method = SiTo(noise_alpha=5.0)
    together = method.plan(x, (8, 8), context((1, 2, 3))).assign
    assert torch.equal(method.plan(x.flip(0), (8, 8), context((3, 2, 1))).assign, together.flip(0))
    assert torch.equal(method.plan(x[1:2], (8, 8), context((2,))).assign, together[1:2])


def test_a_plan_is_rebuilt_from_its_parts_and_checks_what_it_is_given():
    x = tokens(2, (4, 4))
    plan = SiTo().plan(x, (4, 4), context((1, 2))).on("matmul")
    assert torch.equal(type(plan)(*plan.parts()).merge(x), plan.merge(x))
    with pytest.raises(ValueError, match=r"the plan is for tensors of shape \[2, 16, C\], got \[1, 16, 16\]"):
        plan.merge(x[:1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 0.8}, r"ratio must be at most 0\.75 with sx=2, sy=2"),
        ({"sy": 0}, "sy must be an integer of at least 1, got 0"),
        ({"noise_alpha": -1}, r"noise_alpha must be in \[0, inf\), got -1"),
        ({"sim_beta": float("nan")}, r"sim_beta must be in \[0, inf\), got nan"),
        ({"max_downsample": 0}, "max_downsample must be None or an integer of at least 1"),
        ({"targets": ("all",)}, "targets must be one or more of"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        SiTo(**options)


def test_ratio_zero_and_coarser_grids_are_left_alone(tiny_pipe):
    assert SiTo().plan(tokens(1, (8, 8)), (8, 8), context(downsample=2)) is None
    assert not SiTo(ratio=0.0).merges
    plain = denoise(tiny_pipe.unet)
    with retom.patched(tiny_pipe, SiTo(ratio=0.0)):
        assert torch.equal(denoise(tiny_pipe.unet), plain)


def test_images_do_not_depend_on_their_batch_and_the_patch_comes_off(tiny_pipe):
    before, plain = snapshot(tiny_pipe.unet), generate(tiny_pipe, [1])
    with retom.patched(tiny_pipe, SiTo()):
        retom.set_seeds(tiny_pipe, [1, 2])
        together = generate(tiny_pipe, [1, 2])
        retom.set_seeds(tiny_pipe, [1])
        alone = generate(tiny_pipe, [1])
        merged = [(site["tokens"], site["merged"]) for site in retom.report(tiny_pipe)]
    assert_same_images(together[:1], alone, together[1:])
    assert merged.count((1024, 512)) == 5
    assert snapshot(tiny_pipe.unet) == before
    assert torch.equal(generate(tiny_pipe, [1]), plain)


def test_fullgraph_and_no_recompilation_from_step_to_step():
    check_one_graph_per_kind_of_step(SiTo(), steps=3, most=4)

"""ToDo against nearest-neighbour interpolation and against attention with strided keys and values."""

import pytest
import torch
import torch.nn.functional as F

import retom
from baselines.todo import ToDo
from tests.baselines.compiling import check_one_graph_per_kind_of_step
from tests.baselines.generating import assert_same_images, context, denoise, generate, snapshot, tokens


@pytest.mark.parametrize("grid", [(8, 8), (6, 9), (7, 5), (1, 4)])
@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75, 8 / 9])
def test_the_tokens_kept_are_those_of_nearest_neighbour_interpolation(grid, ratio):
    x = tokens(2, grid)
    plan = ToDo(ratio=ratio).plan(x, grid, context((0, 0)))
    size = [max(1, int(side * (1 - ratio) ** 0.5 + 1e-6)) for side in grid]
    image = x.unflatten(1, grid).permute(0, 3, 1, 2)
    expected = F.interpolate(image, size=size, mode="nearest").flatten(2).transpose(1, 2)
    assert plan.num_merged == size[0] * size[1]
    assert torch.equal(plan.merge(x), expected)
    assert torch.equal(plan.merge(plan.unmerge(expected)), expected)


def test_integer_factors_are_integer_strides():
    for factor, side in ((2, 64), (3, 192), (4, 256)):
        plan = ToDo(ratio=1 - 1 / factor**2).plan(torch.zeros(1, side * side, 1), (side, side), context())
        every = torch.arange(side * side).view(side, side)[::factor, ::factor]
        assert torch.equal(plan.dst_index[0], every.flatten())


def test_one_attention_with_all_queries(tiny_pipe):
    """The self-attention of a site equals attention with keys and values from the strided tokens."""
    block = tiny_pipe.unet.down_blocks[0].attentions[0].transformer_blocks[0]
    seen = {}
    block.attn1.register_forward_pre_hook(
        lambda _module, args, kwargs: seen.update(x=args[0] if args else kwargs["hidden_states"]), with_kwargs=True
    )
    block.attn1.register_forward_hook(lambda _module, _args, output: seen.update(output=output))
    with retom.patched(tiny_pipe, ToDo()):
        denoise(tiny_pipe.unet)
    attention, x = block.attn1, seen["x"]
    short = x.unflatten(1, (32, 32))[:, ::2, ::2].flatten(1, 2)
    heads = [
        part.unflatten(2, (attention.heads, -1)).transpose(1, 2)
        for part in (attention.to_q(x), attention.to_k(short), attention.to_v(short))
    ]
    expected = attention.to_out[0](F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))
    torch.testing.assert_close(seen["output"], expected)


def test_levels_have_ratios_of_their_own():
    x = tokens(1, (8, 8))
    method = ToDo(ratio=0.75, ratio_level_2=0.5)
    assert method.plan(x, (8, 8), context(downsample=1)).num_merged == 16
    assert method.plan(x, (8, 8), context(downsample=2)).num_merged == 25
    assert method.plan(x, (8, 8), context(downsample=4)) is None
    assert ToDo().plan(x, (8, 8), context(downsample=2)) is None
    assert ToDo(ratio=0.0).plan(x, (8, 8), context()) is None
    assert not ToDo(ratio=0.0).merges
    assert ToDo(ratio=0.0, ratio_level_2=0.5).merges


@pytest.mark.parametrize("name", ["ratio", "ratio_level_2"])
def test_bad_options_are_named(name):
    for value in (1.0, -0.1):
        with pytest.raises(ValueError, match=rf"^{name} must be in \[0, 1\), got {value}"):
            ToDo(**{name: value})


def test_images_do_not_depend_on_their_batch_and_the_patch_comes_off(tiny_pipe):
    before, plain = snapshot(tiny_pipe.unet), generate(tiny_pipe, [1])
    with retom.patched(tiny_pipe, ToDo()):
        together, alone = generate(tiny_pipe, [1, 2]), generate(tiny_pipe, [2])
        merged = [(site["tokens"], site["merged"]) for site in retom.report(tiny_pipe)]
    assert_same_images(together[1:], alone, together[:1])
    assert (together[1:] - alone).abs().max() < 1e-5  # nothing is ranked, so there are no near ties
    assert not torch.equal(together[:1], plain)
    assert merged.count((1024, 256)) == 5
    assert snapshot(tiny_pipe.unet) == before
    assert torch.equal(generate(tiny_pipe, [1]), plain)


def test_fullgraph_and_no_recompilation_from_step_to_step():
    check_one_graph_per_kind_of_step(ToDo(), steps=3, most=4)

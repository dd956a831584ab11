"""Any attention under `retom.MergedAttention`: timm's vision transformer and a hand-written one."""

import copy

import pytest
import timm
import torch
from torch import nn

import retom
from baselines.ibtm import IBTM
from baselines.tofu import ToFu

GRID = (4, 6)
TOKENS = 24


class Mean(nn.Module):
    """A stand-in for attention whose output tells how many tokens it got: every token plus the mean of all."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x, scale=None):
        self.seen.append(x.shape[1])
        return x + x.mean(dim=1, keepdim=True) * (1 if scale is None else scale)


def tokens(batch=2, prefix=0, seed=0):
    return torch.randn(batch, prefix + TOKENS, 8, generator=torch.Generator().manual_seed(seed))


def wrapped(**options):
    return retom.MergedAttention(Mean(), grid=GRID, **{"ratio": 0.5, "window": 2} | options)


def by_hand(layer, x, prefix=0, **options):
    front, image = x[:, :prefix], x[:, prefix:]
    plan = retom.merge_plan(image, GRID, **{"window": 2, "ratio": 0.5} | options)
    out = layer.module(torch.cat([front, plan.merge(image)], dim=1))
    return torch.cat([out[:, :prefix], plan.unmerge(out[:, prefix:])], dim=1)


@pytest.mark.parametrize("prefix", [0, 1, 5])
@pytest.mark.parametrize("backend", ["gather", "matmul"])
def test_it_is_merge_attention_unmerge_and_leaves_the_prefix_alone(prefix, backend):
    layer, x = wrapped(prefix=prefix, backend=backend), tokens(prefix=prefix)
    out = layer(x)
    assert layer.module.seen == [prefix + TOKENS // 2]
    torch.testing.assert_close(out, by_hand(layer, x, prefix), atol=1e-6, rtol=1e-6)
    assert layer.report() == {
        "grid": [4, 6], "tokens": 24, "merged": 12, "plans_computed": 1, "plans_reused": 0
    }  # fmt: skip


def test_ratio_zero_is_the_module_bit_for_bit():
    x = tokens(prefix=1)
    assert torch.equal(wrapped(ratio=0.0, prefix=1)(x), Mean()(x))


def test_a_vision_transformer_merges_in_every_block_and_is_itself_at_ratio_zero():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model("vit_tiny_patch16_224", depth=3, num_classes=7, img_size=64).eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    def merging(ratio):
        other = copy.deepcopy(model)
        for layer, block in enumerate(other.blocks):
            block.attn = retom.MergedAttention(
                block.attn, ratio=ratio, window=2, grid=(4, 4), prefix=model.num_prefix_tokens, layer=layer
            )
        return other

    with torch.no_grad():
        plain, same, merged = model(images), merging(0.0)(images), merging(0.5)
        out = merged(images)
        alone = torch.cat([merged(image[None]) for image in images])
    assert torch.equal(same, plain)
    assert not torch.equal(out, plain)
    assert [block.attn.report()["merged"] for block in merged.blocks] == [8] * 3
    torch.testing.assert_close(alone, out, atol=1e-5, rtol=1e-5)


def test_every_call_plans_until_a_generation_begins_and_then_every_period():
    layer = wrapped(period=3)
    for seed in range(3):  # images of a classifier have nothing to do with each other
        x = tokens(seed=seed)
        torch.testing.assert_close(layer(x), by_hand(layer, x))
    assert layer.report()["plans_computed"] == 3
    layer.reset()
    first = retom.merge_plan(tokens(), GRID, window=2, ratio=0.5)
    for step in range(4):
        layer(tokens(seed=step))
        assert torch.equal(layer._plan.assign, first.assign) == (step < 3)
    assert (layer.report()["plans_computed"], layer.report()["plans_reused"]) == (5, 2)
    layer.reset()
    layer(tokens(seed=7))
    assert layer.report()["plans_computed"] == 6


def test_another_batch_or_grid_within_a_generation_plans_again():
    layer = retom.MergedAttention(Mean(), ratio=0.5, window=2, grid=lambda x: (x.shape[1] // 6, 6))
    layer.reset()
    for x in (tokens(), tokens(batch=3), torch.cat([tokens(), tokens()], dim=1)):
        assert layer(x).shape == x.shape
    assert layer.report() == {
        "grid": [8, 6], "tokens": 48, "merged": 24, "plans_computed": 3, "plans_reused": 0
    }  # fmt: skip


def test_random_destinations_follow_the_seeds_and_both_branches_share_them():
    layer, x = wrapped(destination="random"), tokens(batch=4)
    layer.set_seeds([5, 6])
    layer(x)
    expected = retom.merge_plan(x, GRID, window=2, ratio=0.5, destination="random", seeds=[5, 6, 5, 6])
    assert torch.equal(layer._plan.dst_index, expected.dst_index)
    layer.set_seeds([8, 9])
    layer(x)
    assert not torch.equal(layer._plan.dst_index, expected.dst_index)
    with pytest.raises(ValueError, match=r"called with 3 rows, which is not a multiple of the 2 seeds"):
        layer(tokens(batch=3))


def test_another_method_and_further_arguments_reach_their_module():
    layer, x = retom.MergedAttention(Mean(), ToFu(ratio=0.25), grid=GRID), tokens()
    assert not torch.equal(layer(x, scale=torch.tensor(2.0)), layer(x))
    assert layer.report()["merged"] == 18


def test_parameters_and_copies_are_those_of_the_module():
    layer = retom.MergedAttention(nn.Linear(8, 8), ratio=0.5, window=2, grid=GRID)
    assert set(layer.state_dict()) == {"module.weight", "module.bias"}
    assert torch.equal(copy.deepcopy(layer)(tokens()), layer(tokens()))


def test_it_trains_through():
    layer, x = retom.MergedAttention(nn.Linear(8, 8), ratio=0.5, window=2, grid=GRID), tokens().requires_grad_()
    layer(x).square().sum().backward()
    assert torch.isfinite(x.grad).all()
    assert layer.module.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "keys"}, r"metric of ReToM must be 'attn_input' or 'block_input' in a MergedAttention, got 'keys'"),
        ({"targets": ("self", "ff")}, r"targets of ReToM must be \('self',\) in a MergedAttention"),
        ({"method": IBTM(), "ratio": None}, r"must be .* in a MergedAttention"),
        ({"method": retom.ReToM()}, r"pass method or options of ReToM, not both: got method and ratio, window"),
        ({"sides": 2}, r"unknown option 'sides' of ReToM"),
        ({"prefix": -1}, r"prefix must be an integer of at least 0, got -1"),
        ({"layer_type": "top"}, r"layer_type must be one of down, mid, up, got 'top'"),
        ({"backend": "cuda"}, r"backend"),
    ],
)
def test_what_a_wrapper_cannot_give_is_refused_when_it_is_made(options, message):
    if options.pop("ratio", 0) is None:
        with pytest.raises(ValueError, match=message):
            retom.MergedAttention(Mean(), grid=GRID, **options)
    else:
        with pytest.raises(ValueError, match=message):
            wrapped(**options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: wrapped(prefix=1)(tokens()), r"grid must have the tokens of x \[2, 24, 8\] after a prefix of 1"),
        (lambda: wrapped()(tokens(), torch.ones(24, 24)), r"argument number 2 of shape \[24, 24\] seems to be about"),
        (lambda: wrapped()(tokens(), scale=torch.ones(1, 24, 1)), r"argument scale of shape \[1, 24, 1\] seems"),
        (lambda: retom.MergedAttention(nn.Flatten(), ratio=0.5, window=2, grid=GRID)(tokens()), r"must return \[B, 12"),
    ],
)
def test_a_call_that_merging_would_break_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.slow
def test_it_compiles_as_one_graph():
    layer = wrapped(period=2)
    layer.module = nn.Linear(8, 8)
    x = tokens()
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(layer, fullgraph=True)(x), layer(x), atol=1e-6, rtol=1e-6)

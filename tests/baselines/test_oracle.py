"""The oracle leaves as many tokens as ReToM, computes what is documented, and is removed exactly."""

import pytest
import torch

import retom
from baselines.oracle import Oracle, lengthen, shorten
from tests.baselines.compiling import check_one_graph_per_kind_of_step
from tests.baselines.generating import denoise, snapshot
from tests.retom.tiny_joint import flux


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
def test_as_many_tokens_are_left_as_in_retom(tiny_pipe, ratio, size):
    oracle = Oracle(ratio=ratio)
    assert oracle.apply(tiny_pipe) == 16
    denoise(tiny_pipe.unet, size)
    ours = oracle.report(tiny_pipe)
    oracle.remove(tiny_pipe)
    with retom.patched(tiny_pipe, retom.ReToM(ratio=ratio)):
        denoise(tiny_pipe.unet, size)
        theirs = retom.report(tiny_pipe)
    keys = ("site", "layer_type", "grid", "tokens", "merged")
    assert [[site[key] for key in keys] for site in ours] == [[site[key] for key in keys] for site in theirs]


def test_it_is_the_attention_of_every_other_token_repeated(tiny_pipe):
    attention = tiny_pipe.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn1
    x = torch.randn(2, 1024, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = attention(x[:, ::2]).repeat_interleave(2, dim=1)
    Oracle().apply(tiny_pipe)
    denoise(tiny_pipe.unet)  # the grid is known after a call of the complete model
    with torch.no_grad():
        assert torch.equal(attention(x), expected)


@pytest.mark.parametrize(("tokens", "left"), [(8, 4), (8, 2), (8, 6), (8, 8), (7, 5), (9, 4)])
def test_shapes_come_back_and_every_row_is_used(tokens, left):
    x = torch.arange(tokens, dtype=torch.float32)[None, :, None]
    short = shorten(x, left)
    long = lengthen(short, tokens)
    assert short.shape == (1, left, 1)
    assert long.shape == x.shape
    assert set(long.flatten().tolist()) == set(short.flatten().tolist())


def test_ratio_zero_changes_nothing(tiny_pipe):
    before = denoise(tiny_pipe.unet)
    Oracle(ratio=0.0).apply(tiny_pipe)
    assert torch.equal(denoise(tiny_pipe.unet), before)


def test_nothing_of_it_stays(tiny_pipe):
    before = snapshot(tiny_pipe.unet)
    oracle = Oracle()
    oracle.apply(tiny_pipe)
    with pytest.raises(ValueError, match="patched by the oracle already"):
        oracle.apply(tiny_pipe)
    oracle.remove(tiny_pipe)
    assert snapshot(tiny_pipe.unet) == before


def test_bad_values_are_named():
    with pytest.raises(ValueError, match=r"ratio must be in \[0, 1\), got 1.0"):
        Oracle(ratio=1.0)
    with pytest.raises(ValueError, match="window must be an integer of at least 1, got 0"):
        Oracle(window=0)
    with pytest.raises(ValueError, match="the oracle does not support"):
        Oracle().apply(torch.nn.Linear(1, 1))


def test_a_joint_attention_is_refused_in_one_line():
    with pytest.raises(ValueError, match="the oracle does not support FluxTransformer2DModel"):
        Oracle().apply(flux())


@pytest.mark.parametrize("ratio", [0.29, 0.5])
def test_it_compiles_as_one_graph(ratio):
    """Counts are exact fractions, computed while tracing."""
    check_one_graph_per_kind_of_step(Oracle(ratio=ratio, window=8), steps=3, most=1)

"""Supported models, precisions and settings, and the errors for others."""

import pytest
import torch
from diffusers import ControlNetModel

import retom
from baselines.ibtm import IBTM


class Around(torch.nn.Module):
    def __init__(self, unet):
        super().__init__()
        self.unet = unet

    def forward(self, sample, timestep, encoder_hidden_states):
        return self.unet(sample, timestep, encoder_hidden_states)


def call(unet, dtype=torch.float32, **options):
    generator = torch.Generator().manual_seed(1)
    x, text = torch.randn(2, 4, 16, 16, generator=generator), torch.randn(2, 7, 32, generator=generator)
    with torch.no_grad():
        return unet(x.to(dtype), 500, encoder_hidden_states=text.to(dtype), **options).sample


@pytest.mark.parametrize("around", [Around, torch.nn.DataParallel])
def test_a_module_around_the_denoiser_is_refused(unet, around):
    wrapped = around(unet)
    for ask in (retom.apply_patch, retom.report, lambda model: retom.check_model(model, retom.ReToM())):
        with pytest.raises(
            ValueError, match=f"model is a {around.__name__} that wraps a UNet2DConditionModel; pass the"
        ):
            ask(wrapped)
    assert "_diffusers_hook" not in vars(wrapped)


@pytest.mark.parametrize("backend", ["gather", "matmul"])
def test_double_precision_merges_as_single(unet, backend):
    with retom.patched(unet, backend=backend):
        single = call(unet)
        double = call(unet.double(), torch.float64)
    torch.testing.assert_close(double.float(), single, atol=1e-4, rtol=1e-4)


def test_a_method_plans_in_its_own_precision_under_autocast(unet):
    seen = []

    class Looking(retom.TokenMerger):
        def plan(self, metric, grid, context):
            seen.append((torch.is_autocast_enabled("cpu"), (metric.float() @ metric.float().mT).dtype))

    with retom.patched(unet, Looking()), torch.autocast("cpu", torch.bfloat16):
        call(unet)
        assert torch.is_autocast_enabled("cpu")
    assert set(seen) == {(False, torch.float32)}


def test_fused_projections(unet):
    with retom.patched(unet):
        apart = call(unet)
        unet.fuse_qkv_projections()
        torch.testing.assert_close(call(unet), apart, atol=1e-5, rtol=1e-5)
    with retom.patched(unet, targets=("self_kv",)), pytest.raises(ValueError, match=r"call unfuse_qkv_projections\(\)"):
        call(unet)


def test_a_feed_forward_in_chunks_is_refused(unet):
    block = unet.down_blocks[0].attentions[0].transformer_blocks[0]
    block.set_chunk_feed_forward(16, dim=1)
    with retom.patched(unet):
        call(unet)
    with (
        retom.patched(unet, targets=("ff",)),
        pytest.raises(ValueError, match=r"runs in chunks.*remove 'ff' from targets"),
    ):
        call(unet)


def test_a_mask_is_no_matter_where_nothing_is_merged(unet):
    attention = unet.down_blocks[0].attentions[0].transformer_blocks[0].attn1
    x, mask = torch.randn(2, 256, 16), torch.zeros(2, 1, 256)
    plain = attention(x, attention_mask=mask)
    with retom.patched(unet, ratio=0.0):
        call(unet)
        assert torch.equal(attention(x, attention_mask=mask), plain)


def test_a_method_that_looks_at_predictions_needs_a_model_that_makes_them():
    torch.manual_seed(0)
    controlnet = ControlNetModel(
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=2,
        cross_attention_dim=32,
        conditioning_embedding_out_channels=(16, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
    ).eval()
    inputs = (torch.randn(2, 4, 16, 16), torch.tensor(500), torch.randn(2, 7, 32), torch.randn(2, 3, 32, 32))
    with retom.patched(controlnet), torch.no_grad():
        controlnet(*inputs)
        assert any(row["merged"] < row["tokens"] for row in retom.report(controlnet))
    with (
        retom.patched(controlnet, IBTM()),
        torch.no_grad(),
        pytest.raises(ValueError, match="a ControlNetModel returns none; apply the method to the U-Net"),
    ):
        controlnet(*inputs)

"""Models other than plain SD 1.5, from the real classes at tiny sizes."""

import torch
from diffusers import ControlNetModel, PixArtTransformer2DModel, UNet2DConditionModel

import retom
from retom.patching.sites import find_sites
from tests.retom.tiny_unet import TINY


def run(model, *, batch=2, size=16, channels=4, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    sample = torch.randn(batch, channels, size, size, generator=generator)
    text = torch.randn(batch, 7, 32, generator=generator)
    with torch.no_grad():
        return model(sample, timestep=torch.full((batch,), 500), encoder_hidden_states=text, **options).sample


def check(model, sites, **options):
    """Patch, merge at every site, remove, and check that the model is restored."""
    plain = run(model, **options)
    with retom.patched(model, ratio=0.5, window=2) as count:
        merged = run(model, **options)
        rows = retom.report(model)
    assert count == len(rows) == sites
    assert all(row["merged"] == row["tokens"] // 2 for row in rows)
    assert not torch.equal(plain, merged)
    assert torch.equal(plain, run(model, **options))
    return rows


def test_sdxl_has_no_site_at_the_top_and_several_blocks_below():
    model = UNet2DConditionModel(
        **{
            **TINY,
            "block_out_channels": (16, 32, 32),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 2, 3),
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 4,
            "projection_class_embeddings_input_dim": 32 + 6 * 4,
        }
    ).eval()
    conditions = {"text_embeds": torch.randn(2, 32), "time_ids": torch.zeros(2, 6)}
    rows = check(model, 2 + 3 + 3 + 2 * 3 + 2 * 2, added_cond_kwargs=conditions)
    assert {tuple(row["grid"]) for row in rows} == {(8, 8), (4, 4)}
    assert {(site.name.split(".")[0], site.downsample) for site in find_sites(model)} == {
        ("down_blocks", 2), ("down_blocks", 4), ("mid_block", 4), ("up_blocks", 4), ("up_blocks", 2)
    }  # fmt: skip
    # what ToMeSD's default does silently on SDXL is visible here
    with retom.patched(model, ratio=0.5, max_downsample=1):
        run(model, added_cond_kwargs=conditions)
        assert all(row["merged"] == row["tokens"] for row in retom.report(model))


def test_sd21_projects_linearly_and_has_heads_by_level():
    linear = {"use_linear_projection": True, "attention_head_dim": (2, 4)}
    rows = check(UNet2DConditionModel(**{**TINY, **linear}).eval(), 4)
    assert [row["layer_type"] for row in rows] == ["down", "mid", "up", "up"]


def test_inpainting_unet_takes_nine_channels():
    check(UNet2DConditionModel(**TINY, in_channels=9).eval(), 4, channels=9)


def test_only_the_unet_next_to_a_controlnet_is_patched():
    unet = UNet2DConditionModel(**TINY).eval()
    controlnet = ControlNetModel.from_unet(unet, conditioning_channels=3).eval()
    condition = torch.rand(2, 3, 128, 128)
    generator = torch.Generator().manual_seed(0)
    sample, text = torch.randn(2, 4, 16, 16, generator=generator), torch.randn(2, 7, 32, generator=generator)
    with torch.no_grad(), retom.patched(unet, ratio=0.5, window=2):
        down, mid = controlnet(sample, 500, text, controlnet_cond=condition, return_dict=False)
        out = unet(sample, 500, text, down_block_additional_residuals=down, mid_block_additional_residual=mid).sample
    assert out.shape == sample.shape
    assert not any("_diffusers_hook" in vars(module) for module in controlnet.modules())


def test_pixart_merges_by_the_same_site():
    model = PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=3,
        cross_attention_dim=16,
        sample_size=16,
        patch_size=2,
        caption_channels=32,
        use_additional_conditions=False,
    ).eval()
    rows = check(model, 3)
    assert all(row["grid"] == [8, 8] for row in rows)
    with retom.patched(model):  # the adaptive window has no mid layer here
        run(model)
        assert {row["layer_type"] for row in retom.report(model)} == {"down"}


def test_gligen_objects_still_act():
    model = UNet2DConditionModel(**TINY, attention_type="gated").eval()
    for name, parameter in model.named_parameters():
        if "fuser.alpha" in name:
            torch.nn.init.ones_(parameter)
    boxes = {"boxes": torch.rand(2, 3, 4), "positive_embeddings": torch.randn(2, 3, 32), "masks": torch.ones(2, 3)}
    with_boxes = {"cross_attention_kwargs": {"gligen": boxes}}
    check(model, 4, **with_boxes)
    with retom.patched(model, ratio=0.0):
        assert torch.equal(run(model, **with_boxes), _unpatched(model, with_boxes))
    with retom.patched(model, ratio=0.5, window=2):
        assert not torch.equal(run(model), run(model, **with_boxes))


def _unpatched(model, options):
    retom.remove_patch(model)
    out = run(model, **options)
    retom.apply_patch(model, ratio=0.0)
    return out


def test_ip_adapter_loads_under_the_patch():
    model = UNet2DConditionModel(**TINY).eval()
    with retom.patched(model, ratio=0.5, window=2):
        model._load_ip_adapter_weights([_ip_adapter_weights(model)])
        image = {"added_cond_kwargs": {"image_embeds": [torch.randn(2, 1, 24)]}}
        out = run(model, **image)
        rows = retom.report(model)
    assert torch.isfinite(out).all()
    assert all(row["merged"] == row["tokens"] // 2 for row in rows)


def _ip_adapter_weights(model, width=24):
    """The state dict of an IP-Adapter for `model`, as its files hold it: a projection and keys and values per layer."""
    from diffusers.models.embeddings import ImageProjection

    projection = ImageProjection(cross_attention_dim=32, image_embed_dim=width, num_image_text_embeds=4).state_dict()
    image = {key.replace("image_embeds.", "proj."): value for key, value in projection.items()}
    adapter = {}
    cross = [name for name in model.attn_processors if name.endswith("attn2.processor")]
    for place, name in enumerate(cross):
        attention = model.get_submodule(name.removesuffix(".processor"))
        for part in ("k", "v"):
            adapter[f"{2 * place + 1}.to_{part}_ip.weight"] = torch.randn(attention.inner_dim, 32)
    return {"image_proj": image, "ip_adapter": adapter}


def test_only_cross_attention_blocks_have_no_self_attention_to_merge():
    model = UNet2DConditionModel(**TINY, only_cross_attention=True).eval()
    with retom.patched(model, ratio=0.5, window=2):
        run(model)
        assert [row["layer_type"] for row in retom.report(model)] == ["mid"]  # the one block with self-attention
    with retom.patched(model, ratio=0.5, window=2, targets=("cross", "ff")) as sites:
        run(model)
        assert sites == 4
        assert all(row["merged"] == row["tokens"] // 2 for row in retom.report(model))

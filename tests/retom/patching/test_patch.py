"""A patched model: what it computes, what it does not change, and how it is restored."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

import retom


def snapshot(model):
    return {name: dict(vars(module)) for name, module in model.named_modules()}


def same_vars(before, after):
    assert before.keys() == after.keys()
    for name, values in before.items():
        assert values.keys() == after[name].keys(), name
        for key, value in values.items():
            assert value is after[name][key] or value == after[name][key], (name, key)


def generate(pipe, seed=0, steps=3, size=64, **options):
    generator = torch.Generator().manual_seed(seed)
    options = {"num_inference_steps": steps, "height": size, "width": size, "output_type": "np", **options}
    return pipe("a photograph of a cat", generator=generator, **options).images


def call(unet, seed=0, batch=2, size=32, **options):
    generator = torch.Generator().manual_seed(seed)
    sample = torch.randn(batch, 4, size, size, generator=generator)
    text = torch.randn(batch, 77, 32, generator=generator)
    with torch.no_grad():
        return unet(sample, 500, encoder_hidden_states=text, **options).sample


def test_patching_changes_the_image_and_removing_restores_every_module(tiny_pipe):
    before, plain = snapshot(tiny_pipe.unet), generate(tiny_pipe)
    assert retom.apply_patch(tiny_pipe, ratio=0.5) == 16
    merged = generate(tiny_pipe)
    retom.remove_patch(tiny_pipe)
    same_vars(before, snapshot(tiny_pipe.unet))
    assert not np.array_equal(plain, merged)
    assert np.array_equal(plain, generate(tiny_pipe))


@pytest.mark.parametrize("backend", ["gather", "matmul"])
def test_ratio_zero_is_the_unpatched_image_bit_for_bit(tiny_pipe, backend):
    plain = generate(tiny_pipe)
    with retom.patched(tiny_pipe, ratio=0.0, backend=backend):
        assert np.array_equal(plain, generate(tiny_pipe))


@pytest.mark.parametrize("handle", ["pipe", "unet"])
def test_a_pipeline_and_its_unet_are_the_same_handle(tiny_pipe, handle):
    model = tiny_pipe if handle == "pipe" else tiny_pipe.unet
    with retom.patched(model, ratio=0.5, window=2):
        image = generate(tiny_pipe)
        assert [row["merged"] for row in retom.report(tiny_pipe)] == [row["tokens"] // 2 for row in retom.report(model)]
    with retom.patched(tiny_pipe, ratio=0.5, window=2):
        assert np.array_equal(image, generate(tiny_pipe))


def test_the_report_tells_grid_tokens_merges_and_plans(tiny_pipe):
    with retom.patched(tiny_pipe, ratio=0.5, period=2) as sites:
        assert retom.report(tiny_pipe)[0]["grid"] is None
        generate(tiny_pipe, steps=4)  # PNDM calls the U-Net five times
        rows = retom.report(tiny_pipe)
    assert sites == len(rows) == 16
    assert [row["grid"] for row in rows[:7]] == [[32, 32]] * 2 + [[16, 16]] * 2 + [[8, 8]] * 2 + [[4, 4]]
    assert [row["layer_type"] for row in rows] == ["down"] * 6 + ["mid"] + ["up"] * 9
    assert all(row["merged"] * 2 == row["tokens"] for row in rows)
    assert {(row["plans_computed"], row["plans_reused"]) for row in rows} == {(3, 2)}


def test_max_downsample_leaves_coarse_sites_alone(tiny_pipe):
    with retom.patched(tiny_pipe, ratio=0.5, max_downsample=1):
        call(tiny_pipe.unet)
        rows = retom.report(tiny_pipe)
    assert {row["merged"] < row["tokens"] for row in rows if row["grid"] == [32, 32]} == {True}
    assert {row["merged"] < row["tokens"] for row in rows if row["grid"] != [32, 32]} == {False}


def test_twice_is_refused_and_so_is_a_model_without_a_site(tiny_pipe):
    with retom.patched(tiny_pipe):
        with pytest.raises(ValueError, match=r"patched already; call retom.remove_patch first"):
            retom.apply_patch(tiny_pipe)
        assert len(retom.report(tiny_pipe)) == 16
    with pytest.raises(ValueError, match=r"AutoencoderKL has no site .* supported are U-Nets"):
        retom.apply_patch(tiny_pipe.vae)
    with pytest.raises(ValueError, match=r"model must be a diffusers pipeline"):
        retom.apply_patch("stable-diffusion")
    with pytest.raises(ValueError, match=r"is not patched; call retom.apply_patch first"):
        retom.report(tiny_pipe)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 1.0}, r"ratio must be in \[0, 1\), got 1.0"),
        ({"period": 0}, "period must be an integer of at least 1, got 0"),
        ({"window": {"down": 2}}, "window must be an int or have exactly the keys down, mid, up"),
        ({"metric": "keys?"}, "metric must be one of attn_input, block_input"),
        ({"targets": ("self", "mlp")}, "targets must be one or more of self, self_kv, cross, ff"),
        ({"targets": ("self", "self_kv")}, "targets must contain either 'self' or 'self_kv', not both"),
        ({"max_downsample": 0}, "max_downsample must be None or an integer of at least 1"),
        ({"ration": 0.5}, "unknown option 'ration' of ReToM"),
        ({"method": retom.ReToM(), "ratio": 0.5}, "not both"),
        ({"method": "retom"}, "method must be a retom.TokenMerger"),
        ({"backend": "cuda"}, "backend must be one of gather, matmul"),
    ],
)
def test_bad_options_are_refused_and_nothing_is_patched(tiny_pipe, options, message):
    before = snapshot(tiny_pipe.unet)
    with pytest.raises(ValueError, match=message):
        retom.apply_patch(tiny_pipe, **options)
    same_vars(before, snapshot(tiny_pipe.unet))


def test_positional_and_keyword_calls_are_the_same(tiny_pipe):
    sample, text = torch.randn(2, 4, 32, 32), torch.randn(2, 77, 32)
    with retom.patched(tiny_pipe, ratio=0.5), torch.no_grad():
        one = tiny_pipe.unet(sample, 10, text).sample
        other = tiny_pipe.unet(encoder_hidden_states=text.clone(), timestep=10, sample=sample).sample
    assert torch.equal(one, other)


@pytest.mark.parametrize("size", [(24, 36), (17, 15), (33, 20)])
def test_any_resolution_works(tiny_pipe, size):
    sample, text = torch.randn(2, 4, *size), torch.randn(2, 77, 32)
    with retom.patched(tiny_pipe, ratio=0.5, window=4), torch.no_grad():
        out = tiny_pipe.unet(sample, 10, encoder_hidden_states=text).sample
        rows = retom.report(tiny_pipe)
    assert out.shape == sample.shape
    assert rows[0]["grid"] == list(size)
    assert all(row["merged"] < row["tokens"] for row in rows)


def test_a_self_attention_mask_is_refused(tiny_pipe):
    with retom.patched(tiny_pipe), pytest.raises(ValueError, match=r"attention_mask .* call retom\.remove_patch first"):
        call(tiny_pipe.unet, attention_mask=torch.ones(2, 1024))


def test_targets_and_metric_reach_every_sublayer(tiny_pipe):
    plain = call(tiny_pipe.unet)
    seen = []
    for targets in [("self",), ("self_kv",), ("cross",), ("ff",), ("self", "cross", "ff")]:
        for metric in ("attn_input", "block_input"):
            with retom.patched(tiny_pipe, ratio=0.5, targets=targets, metric=metric):
                seen.append(call(tiny_pipe.unet))
                assert all(row["merged"] * 2 == row["tokens"] for row in retom.report(tiny_pipe))
    for place, image in enumerate(seen):
        assert not torch.equal(image, plain)
        assert not any(torch.equal(image, other) for other in seen[:place])


def test_merging_keys_and_values_only_uses_all_queries(tiny_pipe):
    attention = tiny_pipe.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn1
    seen = {}
    attention.register_forward_pre_hook(lambda _, args, kwargs: seen.update(x=args[0]), with_kwargs=True)
    attention.register_forward_hook(lambda _, args, out: seen.update(out=out))
    with retom.patched(tiny_pipe, ratio=0.5, window=2, targets=("self_kv",)):
        call(tiny_pipe.unet)
        out, x = seen["out"], seen["x"]
    plan = retom.merge_plan(x, (32, 32), window=2, ratio=0.5)
    with torch.no_grad():
        expected = attention(x, encoder_hidden_states=plan.merge(x))
    torch.testing.assert_close(out, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("targets", [("self",), ("self_kv",)])
def test_a_mask_given_by_position_is_seen(tiny_pipe, targets):
    attention = tiny_pipe.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn1
    with retom.patched(tiny_pipe, targets=targets):
        call(tiny_pipe.unet)
        with pytest.raises(ValueError, match="attention_mask is passed to the self-attention"):
            attention(torch.randn(2, 1024, 16), None, torch.zeros(2, 1024))


def test_blocks_of_one_transformer_may_share_a_plan():
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=2,
        cross_attention_dim=32,
        transformer_layers_per_block=3,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ).eval()

    @dataclasses.dataclass(frozen=True)
    class Counting(retom.ReToM):
        asked: list = dataclasses.field(default_factory=list)

        def plan(self, metric, grid, context):
            self.asked.append(context.name)
            return super().plan(metric, grid, context)

    for share, count in ((False, 12), (True, 4)):
        method = Counting(window=2, share_plan=share)
        with retom.patched(unet, method):
            call(unet, size=16)
            assert all(row["merged"] * 2 == row["tokens"] for row in retom.report(unet))
        assert len(method.asked) == count


def test_a_method_remembers_within_a_generation_and_sees_the_last_output(tiny_pipe):
    seen = []

    class Remembering(retom.TokenMerger):
        needs_output = True

        def plan(self, metric, grid, context):
            if context.layer == 0:
                seen.append((context.step, context.memory.get("step"), context.output is not None))
                context.memory["step"] = context.step

    with retom.patched(tiny_pipe, Remembering()):
        generate(tiny_pipe, steps=2)
        generate(tiny_pipe, steps=2)
    generation = [(0, None, False), (1, 0, True), (2, 1, True)]  # PNDM calls the U-Net three times
    assert seen == generation * 2


def test_set_attn_processor_keeps_the_patch(tiny_pipe):
    from diffusers.models.attention_processor import AttnProcessor

    with retom.patched(tiny_pipe, ratio=0.5):
        fused = call(tiny_pipe.unet)
        tiny_pipe.unet.set_attn_processor(AttnProcessor())
        torch.testing.assert_close(call(tiny_pipe.unet), fused, atol=1e-5, rtol=1e-4)


def test_state_dict_and_deepcopy_are_untouched(tiny_pipe):
    keys = list(tiny_pipe.unet.state_dict())
    with retom.patched(tiny_pipe, ratio=0.5):
        assert list(tiny_pipe.unet.state_dict()) == keys
        out = call(tiny_pipe.unet)
    other = copy.deepcopy(tiny_pipe.unet)
    with retom.patched(other, ratio=0.5):
        assert torch.equal(call(other), out)


def test_lora_loads_and_acts_under_the_patch(tiny_pipe):
    from peft import LoraConfig

    with retom.patched(tiny_pipe, ratio=0.5):
        plain = call(tiny_pipe.unet)
        tiny_pipe.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
        assert not torch.equal(call(tiny_pipe.unet), plain)
        tiny_pipe.unet.disable_adapters()
        assert torch.equal(call(tiny_pipe.unet), plain)


def test_another_users_hook_survives(tiny_pipe):
    from diffusers.hooks import HookRegistry, ModelHook

    attn = tiny_pipe.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn1
    HookRegistry.check_if_exists_or_initialize(attn).register_hook(ModelHook(), "mine")
    with retom.patched(tiny_pipe, ratio=0.5):
        call(tiny_pipe.unet)
    assert list(attn._diffusers_hook.hooks) == ["mine"]

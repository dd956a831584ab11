"""Rotary positions of merged tokens, and several images per call, from the real classes at tiny sizes."""

import pytest
import torch
from diffusers.models.transformers.transformer_flux import FluxAttnProcessor

import retom
from retom.patching import merging
from retom.patching.sites import find_sites
from tests.retom.tiny_joint import TEXT, flux, inputs, run, sd3


def merge_hook(attention):
    return attention._diffusers_hook.get_hook("retom_merge")


def test_merged_positions_are_those_of_the_destinations(monkeypatch):
    """Other rows of the rotary table give another image."""
    model = flux()
    with retom.patched(model, ratio=0.5, window=2):
        right = run(model)
        with monkeypatch.context() as patch:
            patch.setattr(merging, "shared_rows", lambda tables, plan, _: [t[: TEXT + plan.num_merged] for t in tables])
            wrong = run(model)
        assert torch.equal(run(model), right)
    assert not torch.allclose(wrong, right, atol=1e-6)


def test_a_batch_of_sd3_is_as_its_images_alone():
    model = sd3(dual=(0,))
    call = inputs(model, batch=3)
    with retom.patched(model, ratio=0.5, window=2), torch.no_grad():
        torch.testing.assert_close(model(**call).sample, alone(model, call), atol=1e-5, rtol=1e-4)


def alone(model, call):
    """The images of a call one by one. Position ids are shared by all."""
    count = len(call["timestep"])
    rows = ({k: v if k.endswith("_ids") else v[row : row + 1] for k, v in call.items()} for row in range(count))
    return torch.cat([model(**one).sample for one in rows])


@pytest.mark.parametrize("fused", [False, True])
def test_images_of_flux_with_other_destinations_are_as_they_are_alone(fused):
    model = flux()
    if fused:
        model.fuse_qkv_projections()
    call = inputs(model, batch=3)
    with retom.patched(model, ratio=0.5, window=2), torch.no_grad():
        together = model(**call).sample
        destinations = merge_hook(model.transformer_blocks[0].attn).patch.plan.dst_index
        assert not torch.equal(destinations[0], destinations[1])
        torch.testing.assert_close(together, alone(model, call), atol=1e-6, rtol=1e-6)


def test_rotating_in_the_norms_is_the_table_bit_for_bit(monkeypatch):
    model = flux()
    with retom.patched(model, ratio=0.5, window=2):
        by_table = run(model)
        monkeypatch.setattr(merging, "share_destinations", lambda plan: False)
        assert torch.equal(run(model), by_table)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_rotates_in_float32(dtype, monkeypatch):
    model = flux().to(dtype)
    call = {key: value.to(dtype) for key, value in inputs(model).items()}
    with retom.patched(model, ratio=0.5, window=2), torch.no_grad():
        by_table = model(**call).sample
        monkeypatch.setattr(merging, "share_destinations", lambda plan: False)
        assert torch.equal(model(**call).sample, by_table)


class Other(FluxAttnProcessor):
    """Stands for a processor that rotates elsewhere."""


class Unnormed(FluxAttnProcessor):
    """Stands for a processor that normalises no queries. Its name is that of a known one."""

    def __call__(self, attn, *args, **kwargs):
        norm, attn.norm_q = attn.norm_q, torch.nn.Identity()
        try:
            return super().__call__(attn, *args, **kwargs)
        finally:
            attn.norm_q = norm


Unnormed.__name__ = "FluxAttnProcessor"


@pytest.mark.parametrize(
    ("processor", "reason"),
    [(Other, "its Other is none of FluxAttnProcessor"), (Unnormed, "its norm_q did not run")],
)
def test_flux_refuses_other_destinations_where_it_cannot_rotate_them(processor, reason):
    model = flux()
    for site in find_sites(model):
        site.block.attn.set_processor(processor())
    with retom.patched(model, ratio=0.5, window=2):
        run(model)  # one image needs the table alone
        with pytest.raises(ValueError, match=rf"called with 2 images .*{reason}.*; generate one image per call"):
            run(model, batch=2)
        model.set_attn_processor(FluxAttnProcessor())
        run(model, batch=2)


def test_a_table_for_every_image_is_refused_by_its_shape():
    model = flux()
    call = inputs(model, batch=2)
    attention = model.transformer_blocks[0].attn
    table = torch.ones(2, TEXT + 24, 16)
    with retom.patched(model, ratio=0.5, window=2), torch.no_grad():
        model(**call)
        with pytest.raises(ValueError, match=r"shape \[\[2, 29, 16\], \[2, 29, 16\]\]; merging needs cosines"):
            attention(
                hidden_states=torch.randn(2, 24, 32),
                encoder_hidden_states=torch.randn(2, TEXT, 32),
                image_rotary_emb=(table, table),
            )


class Strided(retom.TokenMerger):
    """Merges every pair of neighbours, the same in all images."""

    def plan(self, metric, grid, context):
        batch, tokens, _ = metric.shape
        slot = torch.arange(tokens, device=metric.device) // 2
        return retom.MergePlan.from_clusters(
            slot.expand(batch, -1), None, torch.arange(0, tokens, 2, device=metric.device).expand(batch, -1)
        )


def test_flux_takes_a_batch_whose_plan_is_shared():
    model = flux()
    call = inputs(model, batch=2)
    with retom.patched(model, Strided()), torch.no_grad():
        torch.testing.assert_close(model(**call).sample, alone(model, call), atol=1e-5, rtol=1e-4)


def test_a_call_that_was_interrupted_rotates_nothing_in_the_next():
    model = flux()
    with retom.patched(model, ratio=0.5, window=2), torch.no_grad():
        expected = run(model)
        for site in find_sites(model):
            norm = site.block.attn.norm_k
            handle = norm.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):  # after the queries were rotated
                run(model, batch=2)
            handle.remove()
            assert torch.equal(run(model), expected)

"""Patches next to hooks of diffusers, in any order of adding and removing."""

import pytest
import torch
from diffusers import FirstBlockCacheConfig, PyramidAttentionBroadcastConfig

import retom
from tests.retom.tiny_joint import flux, run

BROADCAST = PyramidAttentionBroadcastConfig(
    spatial_attention_block_skip_range=2,
    spatial_attention_timestep_skip_range=(0, 1000),
    spatial_attention_block_identifiers=("transformer_blocks", "single_transformer_blocks"),
    current_timestep_callback=lambda: 500,
)
FIRST_BLOCK = FirstBlockCacheConfig(threshold=10.0)


@pytest.fixture
def model():
    return flux()


def runs_of_four_calls(model, block):
    """How often an attention ran in four calls."""
    seen = []
    handle = model.transformer_blocks[block].attn.to_q.register_forward_hook(lambda *_: seen.append(1))
    model._reset_stateful_cache()
    with model.cache_context("cond"):
        for _ in range(4):
            run(model)
    handle.remove()
    return len(seen)


def test_a_cache_taken_from_under_the_patch_leaves_merging_on(model):
    with retom.patched(model):
        merged = run(model)
    model.enable_cache(BROADCAST)
    retom.apply_patch(model)
    model.disable_cache()
    assert torch.equal(run(model), merged)
    retom.remove_patch(model)
    assert not torch.equal(run(model), merged)


def test_a_cache_over_the_patch_comes_off_and_leaves_merging_on(model):
    retom.apply_patch(model)
    merged = run(model)
    model.enable_cache(BROADCAST)
    model.disable_cache()
    assert torch.equal(run(model), merged)


@pytest.mark.parametrize(
    ("cache", "metric", "block", "runs"), [(BROADCAST, "attn_input", 0, 2), (FIRST_BLOCK, "block_input", 1, 1)]
)
def test_a_patch_taken_from_under_a_cache_leaves_the_cache_on(model, cache, metric, block, runs):
    plain = run(model)
    retom.apply_patch(model, metric=metric)
    model.enable_cache(cache)
    assert runs_of_four_calls(model, block) == runs
    retom.remove_patch(model)
    assert runs_of_four_calls(model, block) == runs
    model.disable_cache()
    assert torch.equal(run(model), plain)


def test_an_empty_registry_stays_as_it_was(model):
    with model.cache_context("cond"):
        run(model)
    before = {name: dict(vars(module)) for name, module in model.named_modules()}
    with retom.patched(model):
        run(model)
    after = {name: dict(vars(module)) for name, module in model.named_modules()}
    assert {name: set(values) for name, values in after.items()} == {n: set(values) for n, values in before.items()}
    assert all(after[name].get("_diffusers_hook") is values.get("_diffusers_hook") for name, values in before.items())

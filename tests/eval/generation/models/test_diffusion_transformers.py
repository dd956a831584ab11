"""The full-size transformers have the published models' parameter counts, and merge; on the meta device: no memory."""

import pytest
import torch
from diffusers import PixArtTransformer2DModel, UNet2DConditionModel

import retom
from eval.generation.models.diffusion_transformers import TRANSFORMERS, random_transformer, transformer_inputs
from tests.retom.tiny_joint import flux, sd3


def count(part):
    return sum(parameter.numel() for parameter in part.parameters())


@pytest.mark.parametrize(
    ("name", "parameters", "sites"),
    [
        ("pixart", 611_349_152, 28),  # published as 0.6 billion
        ("sd3", 2_028_328_000, 24),
        ("sd35_medium", 2_243_171_520, 24),
        ("sd35_large", 8_056_627_520, 38),
        ("flux", 11_901_408_320, 57),
    ],
)
def test_the_transformers_are_full_size_and_every_block_is_a_site(name, parameters, sites):
    kind, options = TRANSFORMERS[name]
    with torch.device("meta"):
        model = kind(**options)
    assert count(model) == parameters
    with retom.patched(model) as patched:
        assert patched == sites


PIXART_TINY = {
    "num_layers": 2,
    "num_attention_heads": 3,
    "attention_head_dim": 8,
    "cross_attention_dim": 24,
    "caption_channels": 32,
}
TINY = {
    "sd3": sd3,
    "flux": flux,
    "pixart": lambda: PixArtTransformer2DModel(**PIXART_TINY),
}


@pytest.mark.parametrize("name", TINY)
def test_inputs_fit_the_model(name):
    model = TINY[name]().eval()
    inputs = transformer_inputs(model, height=64, width=96, dtype=torch.float32)
    with retom.patched(model, ratio=0.5, window=2), torch.no_grad():
        model(**inputs, timestep=torch.ones(1))
        assert all((row["grid"], row["merged"]) == ([4, 6], 12) for row in retom.report(model))


def test_inputs_say_what_they_are_for():
    with pytest.raises(ValueError, match="height must be a positive multiple of 16, got 72"):
        transformer_inputs(sd3(), height=72, width=64, dtype=torch.float32)
    with torch.device("meta"):
        unet = UNet2DConditionModel()
    with pytest.raises(ValueError, match=r"model must be one of PixArt.*, got UNet2DConditionModel"):
        transformer_inputs(unet, height=64, width=64, dtype=torch.float32)


def test_weights_are_of_the_seed_and_nothing_else_changes(monkeypatch):
    tiny = {**PIXART_TINY, "num_layers": 1}
    monkeypatch.setitem(TRANSFORMERS, "pixart", (PixArtTransformer2DModel, tiny))
    state = torch.get_rng_state()
    one, same, other = (random_transformer("pixart", dtype=torch.bfloat16, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_default_dtype() == torch.float32
    assert {part.dtype for part in one.state_dict().values()} == {torch.bfloat16}
    assert torch.equal(one.proj_out.weight, same.proj_out.weight)
    assert not torch.equal(one.proj_out.weight, other.proj_out.weight)
    with pytest.raises(ValueError, match=r"architecture must be one of pixart, sd3, .* got 'sd4'"):
        random_transformer("sd4")

"""The pipelines of SD 3 and Flux with a patched transformer; inputs are embeddings and outputs are latents."""

import pytest
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, StableDiffusion3Pipeline

import retom
from tests.retom.tiny_joint import MODELS

NONE = dict.fromkeys(["text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"])


def pipeline(name):
    vae = AutoencoderKL(block_out_channels=(4,), latent_channels=1 if name == "flux" else 4, norm_num_groups=1)
    parts = {"vae": vae.eval(), "scheduler": FlowMatchEulerDiscreteScheduler(), "transformer": MODELS[name](), **NONE}
    if name == "flux":
        pipe = FluxPipeline(**parts)
    else:
        pipe = StableDiffusion3Pipeline(**parts, text_encoder_3=None, tokenizer_3=None)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def embeddings(seed=0):
    generator = torch.Generator().manual_seed(seed)
    text, pooled = torch.randn(1, 5, 12, generator=generator), torch.randn(1, 10, generator=generator)
    return {"prompt_embeds": text, "pooled_prompt_embeds": pooled}


def draw(pipe, given, *, seed=1, steps=3, **options):
    options = {"height": 8, "width": 12, "guidance_scale": 1.0, **options}
    generator = torch.Generator().manual_seed(seed)
    return pipe(**given, generator=generator, num_inference_steps=steps, output_type="latent", **options).images


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("steps", [2, 4])
def test_the_same_embeddings_given_twice_are_two_generations(name, steps):
    pipe, given = pipeline(name), embeddings()
    plain = draw(pipe, given, steps=steps)
    with retom.patched(pipe, ratio=0.5, window=2):
        first = draw(pipe, given, steps=steps)
        rows = retom.report(pipe)
        draw(pipe, given, seed=2, steps=steps)
        assert torch.equal(draw(pipe, given, steps=steps), first)
    assert {(row["plans_computed"], row["plans_reused"]) for row in rows} == {(1, steps - 1)}
    assert all(row["merged"] == 12 for row in rows)
    assert not torch.equal(first, plain)
    assert torch.equal(draw(pipe, given, steps=steps), plain)


def test_one_step_of_flux_given_the_same_embeddings_is_a_generation():
    pipe, given = pipeline("flux"), embeddings()
    with retom.patched(pipe, ratio=0.5, window=2):
        first = draw(pipe, given, steps=1)
        draw(pipe, given, seed=2, steps=1)
        assert torch.equal(draw(pipe, given, steps=1), first)
        assert {row["plans_reused"] for row in retom.report(pipe)} == {0}


def test_one_step_of_sd3_given_the_same_embeddings_and_no_guidance_is_never_merged_by_another_images_plan():
    pipe, given = pipeline("sd3"), embeddings()
    with retom.patched(pipe, ratio=0.5, window=2):
        first = draw(pipe, given, steps=1)
        draw(pipe, given, seed=2, steps=1)
        assert torch.equal(draw(pipe, given, steps=1), first)
        assert {row["plans_reused"] for row in retom.report(pipe)} == {0}


def test_guidance_of_sd3_stacks_rows_that_share_their_seeds():
    pipe, given = pipeline("sd3"), embeddings()
    given |= {f"negative_{name}": value for name, value in embeddings(5).items()}
    with retom.patched(pipe, ratio=0.5, window=2, destination="random"):
        retom.set_seeds(pipe, [7])
        one = draw(pipe, given, guidance_scale=4.0)
        retom.set_seeds(pipe, [7])
        assert torch.equal(draw(pipe, given, guidance_scale=4.0), one)
        retom.set_seeds(pipe, [8])
        assert not torch.equal(draw(pipe, given, guidance_scale=4.0), one)


def test_true_guidance_of_flux_calls_twice_per_step_and_each_text_has_its_plan():
    pipe, given = pipeline("flux"), embeddings()
    given |= {f"negative_{name}": value for name, value in embeddings(5).items()}
    with retom.patched(pipe, ratio=0.5, window=2):
        draw(pipe, given, true_cfg_scale=3.0)
        rows = retom.report(pipe)
    assert {(row["plans_computed"], row["plans_reused"]) for row in rows} == {(2, 4)}

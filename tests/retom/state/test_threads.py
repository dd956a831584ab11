"""State belongs to the thread that calls the model."""

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

import retom
from tests.retom.denoising import SCHEDULE, ddim, latents, step, text


@pytest.mark.parametrize("widths", [(64, 64), (64, 128)], ids=["one size", "two sizes"])
def test_threads_share_a_model_with_seeds_and_schedules_of_their_own(tiny_pipe, widths):
    def work(job):
        prompt, width, seed = job
        # A fast tokenizer is one thread's: two at once fail with "Already borrowed", patched or not.
        parts = {**tiny_pipe.components, "tokenizer": copy.deepcopy(tiny_pipe.tokenizer)}
        pipe = ddim(StableDiffusionPipeline(**parts, requires_safety_checker=False))
        pipe.set_progress_bar_config(disable=True)
        retom.set_seeds(pipe, [seed])
        generator = torch.Generator().manual_seed(seed)
        options = {"width": width, "height": 64, "num_inference_steps": 6, "output_type": "np"}
        return pipe(prompt, generator=generator, **options).images

    jobs = [(prompt, widths[place % 2], place) for place, prompt in enumerate(("a cat", "a car", "a dog", "a house"))]
    ddim(tiny_pipe)
    with retom.patched(tiny_pipe, ratio=0.5, period=4, destination="random"):
        alone = [work(job) for job in jobs]
        counted = retom.report(tiny_pipe)[0]
        with ThreadPoolExecutor(2) as pool:
            together = list(pool.map(work, jobs))
        after = retom.report(tiny_pipe)[0]
    for mine, other in zip(together, alone, strict=True):
        assert np.array_equal(mine, other)
    assert (after["plans_computed"], after["plans_reused"]) == (16, 32)  # 8 generations of 6 calls, planned at 0 and 4
    assert (counted["plans_computed"], counted["plans_reused"]) == (8, 16)


def test_a_thread_without_seeds_uses_those_of_the_thread_that_patched(unet):
    def call():
        return step(unet, latents(), torch.tensor(500), text())

    with retom.patched(unet, ratio=0.5, destination="random"), ThreadPoolExecutor(1) as pool:
        retom.set_seeds(unet, [7])
        mine, other = call(), pool.submit(call).result()
        pool.submit(retom.set_seeds, unet, [8]).result()
        moved, kept = pool.submit(call).result(), call()
    assert torch.equal(mine, other)
    assert torch.equal(mine, kept)
    assert not torch.equal(mine, moved)


def test_activations_are_computed_again_in_autograds_thread_by_the_plans_of_the_call(unet):
    """On a GPU, autograd recomputes blocks in its own thread, which never called the model."""
    unet.enable_gradient_checkpointing()
    unet.train()
    x, embeddings = latents(), text()
    with retom.patched(unet, ratio=0.5, period=20), ThreadPoolExecutor(1) as pool:
        gradients = []
        for backward in (lambda loss: loss.backward(), lambda loss: pool.submit(loss.backward).result()):
            retom.reset(unet)
            unet.zero_grad()
            for timestep in SCHEDULE[:2]:
                out = unet(x, timestep, encoder_hidden_states=embeddings).sample
            backward(out.square().sum())
            gradients.append([weight.grad.clone() for weight in unet.parameters() if weight.grad is not None])
    for mine, other in zip(*gradients, strict=True):
        assert torch.equal(mine, other)

"""Fewer steps: the images of a smaller step count, and a restored scheduler."""

import inspect
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from baselines.fewer_steps import FewerSteps
from tests.baselines.test_deepcache import generate


@pytest.mark.parametrize(
    ("share", "asked", "made"), [(0.5, 6, 3), (0.62, 50, 31), (0.5, 3, 2), (0.01, 6, 1), (1, 6, 6)]
)
def test_a_share_of_the_steps_is_made(share, asked, made):
    assert FewerSteps(share).steps(asked) == made


def test_the_images_are_those_of_the_smaller_count_whatever_their_batch(tiny_pipe):
    few, many = generate(tiny_pipe, [1, 2], steps=2), generate(tiny_pipe, [1], steps=4)
    method, before = FewerSteps(0.5), dict(vars(tiny_pipe.scheduler))
    assert method.apply(tiny_pipe) == 0
    method.set_seeds(tiny_pipe, [1, 2])
    assert torch.equal(generate(tiny_pipe, [1, 2], steps=4), few)
    assert (generate(tiny_pipe, [2], steps=4) - few[1:]).abs().max() < 1e-5
    assert method.report(tiny_pipe) == []
    assert not method.merges
    method.remove(tiny_pipe)
    method.remove(tiny_pipe)
    assert vars(tiny_pipe.scheduler).keys() == before.keys()
    assert torch.equal(generate(tiny_pipe, [1], steps=4), many)


def test_all_steps_are_the_identity(tiny_pipe):
    plain = generate(tiny_pipe, [1], steps=3)
    FewerSteps(1).apply(tiny_pipe)
    assert torch.equal(generate(tiny_pipe, [1], steps=3), plain)


def test_what_it_cannot_do_is_refused(tiny_pipe):
    for wrong in (0, 1.1, True, -0.5):
        with pytest.raises(ValueError, match=r"share must be in \(0, 1\], got"):
            FewerSteps(wrong)
    with pytest.raises(ValueError, match=r"share must be a number, measured by .* got 'retom'"):
        FewerSteps("retom").apply(tiny_pipe)
    with pytest.raises(ValueError, match="need a pipeline with a scheduler, got UNet2DConditionModel"):
        FewerSteps().apply(tiny_pipe.unet)
    FewerSteps().apply(tiny_pipe)
    with pytest.raises(ValueError, match="patched already"):
        FewerSteps().apply(tiny_pipe)
    with pytest.raises(ValueError, match="got timesteps"):
        tiny_pipe.scheduler.set_timesteps(timesteps=[5, 1])


def test_sigmas_of_a_flow_are_those_of_the_smaller_count():
    from diffusers import FlowMatchEulerDiscreteScheduler

    def flow(steps: int) -> np.ndarray:
        return np.linspace(1.0, 1 / steps, steps)  # as FluxPipeline gives them

    pipe = SimpleNamespace(scheduler=FlowMatchEulerDiscreteScheduler())
    pipe.scheduler.set_timesteps(sigmas=flow(3))
    few = pipe.scheduler.sigmas.clone()
    FewerSteps(0.5).apply(pipe)
    assert "sigmas" in inspect.signature(pipe.scheduler.set_timesteps).parameters  # what pipelines ask
    pipe.scheduler.set_timesteps(sigmas=flow(6))
    assert torch.allclose(pipe.scheduler.sigmas, few, atol=1e-6)
    pipe.scheduler.set_timesteps(6)
    assert len(pipe.scheduler.timesteps) == 3

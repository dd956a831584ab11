"""State belongs to one generation: no generation uses the cache of another."""

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    HeunDiscreteScheduler,
    KDPM2AncestralDiscreteScheduler,
    KDPM2DiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
)

import retom
from retom.state.generation import Generation
from retom.state.steps import LONGEST, Tally, calls


def generation_of(due):
    """A generation of an eager model that plans at the steps that are `due`."""
    start = calls(due)
    return Generation(start, Tally(start))


def draw(pipe, seed, steps=3, batch=1, size=64, **options):
    generators = [torch.Generator().manual_seed(seed + image) for image in range(batch)]
    options = {"num_inference_steps": steps, "height": size, "width": size, "output_type": "np", **options}
    return pipe(["a cat"] * batch, generator=generators, **options).images


# HeunDiscreteScheduler itself hands torch tensors to numpy the old way.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
@pytest.mark.parametrize("scheduler", [PNDMScheduler, DDIMScheduler, HeunDiscreteScheduler, LCMScheduler])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("destination", ["representative", "random"])
def test_the_next_call_is_as_if_the_first(tiny_pipe, scheduler, steps, destination):
    tiny_pipe.scheduler = scheduler.from_config(tiny_pipe.scheduler.config)
    with retom.patched(tiny_pipe.unet, destination=destination):
        first = draw(tiny_pipe, 1, steps)
        draw(tiny_pipe, 2, steps)
        assert np.array_equal(draw(tiny_pipe, 1, steps), first)


def test_other_batches_sizes_and_guidance_between_leave_no_trace(tiny_pipe):
    with retom.patched(tiny_pipe.unet):
        first = draw(tiny_pipe, 1)
        for options in ({"batch": 3}, {"size": 48}, {"guidance_scale": 1.0}, {"steps": 5}):
            draw(tiny_pipe, 5, **options)
            assert np.array_equal(draw(tiny_pipe, 1), first)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_generation_leaves_no_trace(tiny_pipe, error):
    def stop(pipe, step, timestep, tensors):
        if step == 1:
            raise error("stop")
        return tensors

    with retom.patched(tiny_pipe.unet):
        first = draw(tiny_pipe, 1)
        with pytest.raises(error):
            draw(tiny_pipe, 2, callback_on_step_end=stop)
        assert np.array_equal(draw(tiny_pipe, 1), first)


def test_an_exception_inside_the_unet_leaves_no_trace(tiny_pipe):
    with retom.patched(tiny_pipe.unet):
        first = draw(tiny_pipe, 1)
        handle = tiny_pipe.unet.mid_block.register_forward_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            draw(tiny_pipe, 2)
        handle.remove()
        assert np.array_equal(draw(tiny_pipe, 1), first)


def test_image_to_image_with_a_repeated_first_timestep(tiny_pipe):
    from diffusers import StableDiffusionImg2ImgPipeline

    pipe = StableDiffusionImg2ImgPipeline(**tiny_pipe.components, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    def redraw(seed):
        generator = torch.Generator().manual_seed(seed)
        return pipe("a cat", image=image, strength=0.8, num_inference_steps=5, generator=generator, output_type="np")[0]

    with retom.patched(pipe.unet, period=2):
        first = redraw(1)
        computed = [row["plans_computed"] for row in retom.report(pipe)]
        redraw(2)
        assert np.array_equal(redraw(1), first)
    assert set(computed) == {3}  # of five calls: the repeated timestep at the start did not begin another generation


def test_a_loop_of_ones_own_restarts_when_timesteps_turn_around(tiny_pipe):
    unet, text = tiny_pipe.unet, torch.randn(2, 77, 32)

    def loop():
        x = torch.randn(2, 4, 32, 32, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            for timestep in (900, 500, 500, 100):
                x = x - 0.1 * unet(x, timestep, encoder_hidden_states=text).sample
        return x

    with retom.patched(unet):
        assert torch.equal(loop(), loop())
        computed = retom.report(unet)[0]["plans_computed"]
    assert computed == 4  # a repeated number may be another tile: its second call has its own plan


def test_reset_starts_a_generation_that_nothing_else_tells_of(tiny_pipe):
    unet, text = tiny_pipe.unet, torch.randn(2, 77, 32)
    sample = torch.randn(2, 4, 32, 32)
    with retom.patched(unet), torch.no_grad():
        for _ in range(3):
            retom.reset(unet)
            unet(sample, 999, encoder_hidden_states=text)
        assert retom.report(unet)[0]["plans_computed"] == 3


@pytest.mark.parametrize("timesteps", [(900, 500, 500, 100), (100, 500, 900), (7,), (7, 7, 7)])
def test_rising_falling_and_repeated_timesteps_are_one_generation(timesteps):
    generation, text, sample = generation_of(lambda step: step % 20 == 0), torch.zeros(1), torch.zeros(2, 4, 8, 8)
    for timestep in timesteps:
        generation.advance(sample, torch.tensor(timestep), text)
    assert generation.step == len(timesteps) - 1


# These schedulers hand torch tensors to numpy the old way.
@pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")
@pytest.mark.parametrize("options", [{"use_karras_sigmas": True}, {"timestep_spacing": "trailing"}])
@pytest.mark.parametrize("scheduler", [KDPM2AncestralDiscreteScheduler, KDPM2DiscreteScheduler])
@pytest.mark.parametrize("steps", [20, 50])
def test_timesteps_that_rounding_turns_back_are_one_generation(scheduler, options, steps):
    schedule = scheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", **options)
    generation, text, sample = generation_of(lambda step: step % 20 == 0), torch.zeros(1), torch.zeros(2, 4, 8, 8)
    begun = []
    for _ in range(2):
        schedule.set_timesteps(steps)
        for timestep in schedule.timesteps:
            generation.advance(sample, timestep.item(), text)  # a number: only its value is known
            begun.append(generation.step == 0)
    calls = len(schedule.timesteps)
    assert [place for place, first in enumerate(begun) if first] == [0, calls]


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_slow_turns_are_noticed_too(scale):
    """Inversion and back in 500 steps each; Flux counts time from 0 to 1."""
    generation, text, sample = generation_of(lambda step: False), torch.zeros(1), torch.zeros(2, 4, 8, 8)
    way = [place * scale / 500 for place in range(1, 501)]
    begun = []
    for place, timestep in enumerate(way + way[::-1]):
        generation.advance(sample, timestep, text)
        begun += [place] * (generation.step == 0)
    assert begun[0] == 0
    assert 500 <= begun[1] <= 510
    assert len(begun) == 2


def test_another_schedule_is_another_generation():
    """As with timesteps on a GPU, whose values are not read, and embeddings that are the same tensor throughout."""
    generation, text, sample = generation_of(lambda step: step % 20 == 0), torch.zeros(1), torch.zeros(2, 4, 8, 8)
    steps = []
    for schedule in (torch.tensor([900.0, 800.0]), torch.tensor([700.0, 600.0, 500.0])):  # on and on falling
        for timestep in schedule:
            generation.advance(sample, timestep.expand(2), text)
            steps.append(generation.step)
    assert steps == [0, 1, 0, 1, 2]


def test_the_longest_generation_is_followed_by_another():
    generation, text, sample = generation_of(lambda step: False), torch.zeros(1), torch.zeros(2, 4, 8, 8)
    for _ in range(LONGEST + 1):
        generation.advance(sample, 500, text)
    assert (generation.step, generation.refresh) == (0, True)


def test_the_period_counts_calls_from_zero():
    generation, text, sample = generation_of(lambda step: step % 3 == 0), torch.zeros(1), torch.zeros(2, 4, 8, 8)
    refreshed = []
    for timestep in range(70, 0, -10):
        generation.advance(sample, timestep, text)
        refreshed.append(generation.refresh)
    assert refreshed == [True, False, False, True, False, False, True]


def test_seeds_reach_both_halves_and_survive_batches(tiny_pipe):
    with retom.patched(tiny_pipe, destination="random", period=1):
        retom.set_seeds(tiny_pipe, [1, 2])
        together = draw(tiny_pipe, 1, batch=2)
        for image in range(2):
            retom.set_seeds(tiny_pipe, [1 + image])
            alone = draw(tiny_pipe, 1 + image)
            np.testing.assert_allclose(alone[0], together[image], atol=1e-5)
        for seeds in (5, [1.5], ["1"], []):
            with pytest.raises(ValueError, match="seeds must have one integer per image, got"):
                retom.set_seeds(tiny_pipe, seeds)
        for seed in (2**63, -(2**63) - 1):
            with pytest.raises(ValueError, match=rf"seeds must be integers in \[-2\*\*63, 2\*\*63\).*, got {seed}"):
                retom.set_seeds(tiny_pipe, [seed])
        retom.set_seeds(tiny_pipe, [3])
        assert not np.allclose(draw(tiny_pipe, 1), together[:1], atol=1e-5)


def test_seeds_that_do_not_fit_the_batch_are_refused(tiny_pipe):
    with retom.patched(tiny_pipe, destination="random"):
        retom.set_seeds(tiny_pipe, [1, 2, 3])
        with pytest.raises(ValueError, match="2 rows, which is not a multiple of the 3 seeds"):
            draw(tiny_pipe, 1)
        with pytest.raises(ValueError, match="one integer per image"):
            retom.set_seeds(tiny_pipe, [])

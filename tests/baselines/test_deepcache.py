"""The DeepCache package in the adapter: its images equal those of the package, and no state is kept between images."""

import pytest
import torch
from DeepCache import DeepCacheSDHelper

from baselines.deepcache import DeepCache
from tests.baselines.generating import snapshot

STEPS = 6


def generate(pipe, seeds, steps=STEPS, **options):
    """Images from one pipeline call, one generator per image."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    size = {"height": 64, "width": 64, "num_inference_steps": steps, "output_type": "pt"}
    return pipe(["a cat"] * len(seeds), generator=generators, **size, **options).images


@pytest.fixture
def cached(tiny_pipe):
    """The tiny pipeline with the defaults of the adapter."""
    method = DeepCache()
    assert method.apply(tiny_pipe) == 16
    return tiny_pipe, method


def test_the_images_are_the_packages_own(cached):
    pipe, method = cached
    ours = generate(pipe, [1])
    method.remove(pipe)
    helper = DeepCacheSDHelper(pipe)
    helper.set_params(cache_interval=3, cache_branch_id=0)
    helper.enable()
    assert torch.equal(generate(pipe, [1]), ours)
    helper.disable()
    assert not torch.equal(generate(pipe, [1]), ours)


def test_the_deep_part_is_that_of_the_last_full_step(tiny_pipe):
    """By definition: at a step in between, everything below the outermost skip connection is unchanged."""
    inputs = []
    last = tiny_pipe.unet.up_blocks[-1]
    last.register_forward_pre_hook(
        lambda _module, args, kwargs: inputs.append((args[0] if args else kwargs["hidden_states"]).clone()),
        with_kwargs=True,
    )
    DeepCache(interval=3).apply(tiny_pipe)
    generate(tiny_pipe, [1])
    timesteps = tiny_pipe.scheduler.timesteps.tolist()
    steps = [timesteps.index(timestep) for timestep in timesteps]
    full = [number for number, step in enumerate(steps) if step % 3 == 0]
    assert len(inputs) == len(timesteps) > len(full) > 1
    for number in range(len(timesteps)):
        source = max(start for start in full if start <= number)
        assert torch.equal(inputs[number], inputs[source])
    assert not torch.equal(inputs[full[0]], inputs[full[1]])


def test_images_do_not_depend_on_their_batch_or_on_what_ran_before(cached):
    pipe, method = cached
    together = generate(pipe, [1, 2])
    method.set_seeds(pipe, [2])
    alone = generate(pipe, [2])
    assert (together[1:] - alone).abs().max() < 1e-5
    assert (together[:1] - alone).abs().max() > 1e-2
    assert torch.equal(generate(pipe, [2]), alone)  # not even if no new generation is announced
    with pytest.raises(RuntimeError, match="stop"):
        generate(pipe, [3], callback_on_step_end=interrupt)
    method.set_seeds(pipe, [2])
    assert torch.equal(generate(pipe, [2]), alone)


def interrupt(_pipe, step, _timestep, _tensors):
    if step == 1:
        raise RuntimeError("stop")
    return {}


def test_the_report_says_what_was_left_out(cached):
    pipe, method = cached
    assert not method.merges
    generate(pipe, [1])
    report = method.report(pipe)
    calls = len(pipe.scheduler.timesteps)
    assert all(site["merged"] == site["tokens"] for site in report if site["tokens"])
    assert {site["plans_computed"] + site["plans_reused"] for site in report} == {calls}
    counts = {site["site"]: site["plans_reused"] for site in report}
    assert counts["up_blocks.3.attentions.2.transformer_blocks.0"] == 0
    assert counts["mid_block.attentions.0.transformer_blocks.0"] > 0


def test_interval_one_is_the_identity_and_the_patch_comes_off_exactly(tiny_pipe):
    before, plain = snapshot(tiny_pipe.unet), generate(tiny_pipe, [1])
    method = DeepCache(interval=1)
    method.apply(tiny_pipe)
    assert torch.equal(generate(tiny_pipe, [1]), plain)
    method.remove(tiny_pipe)
    assert snapshot(tiny_pipe.unet) == before
    assert torch.equal(generate(tiny_pipe, [1]), plain)
    method.remove(tiny_pipe)
    assert snapshot(tiny_pipe.unet) == before


def test_what_cannot_be_patched_is_refused(cached, tiny_original):
    pipe, method = cached
    with pytest.raises(ValueError, match="patched by DeepCache already"):
        method.apply(pipe)
    with pytest.raises(ValueError, match="needs a pipeline with a UNet2DConditionModel, got AutoencoderKL"):
        method.apply(tiny_original.vae)
    with pytest.raises(ValueError, match="not patched by DeepCache; call apply first"):
        method.report(tiny_original)
    method.remove(pipe)
    pipe.unet.compile()
    with pytest.raises(ValueError, match=r"cannot run in a compiled U-Net; set sampler\.compile=false"):
        method.apply(pipe)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"interval": 0}, "interval must be an integer of at least 1, got 0"),
        ({"interval": 2.5}, r"interval must be an integer of at least 1, got 2\.5"),
        ({"branch": -1}, "branch must be an integer of at least 0, got -1"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        DeepCache(**options)

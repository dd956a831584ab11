"""The sampler's options are checked when made, and take effect on the pipeline."""

import math

import diffusers
import pytest
import torch

from eval.devices import check_device
from eval.errors import RunError
from eval.generation.calls import call_pipeline, configure, denoiser, size_multiple
from eval.generation.sampler import SamplerConfig, scheduler_names


def tiny_sampler(**options):
    return SamplerConfig(**{"steps": 2, "height": 64, "width": 64} | options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheduler": "PNDM"}, "scheduler: unknown 'PNDM', the nearest is PNDMScheduler"),
        ({"scheduler": "DDIMSheduler"}, "nearest is DDIMScheduler"),
        ({"steps": 0}, "steps must be an integer of at least 1, got 0"),
        ({"steps": 2.5}, "steps must be an integer of at least 1, got 2.5"),
        ({"guidance": -1}, r"guidance must be in \[0, inf\), got -1"),
        ({"guidance": math.nan}, r"guidance must be in \[0, inf\), got nan"),
        ({"guidance": "7"}, r"guidance must be in \[0, inf\), got '7'"),
        ({"height": 515}, "height must be a multiple of 8, got 515; the nearest is 512"),
        ({"width": 3}, "width must be a multiple of 8, got 3; the nearest is 8"),
        ({"dtype": "fp16"}, "dtype: unknown 'fp16', the nearest of float32, float16, bfloat16"),
        ({"device": "gpu"}, "device must be cpu, cuda or cuda:N, got 'gpu'"),
        ({"attention": "flash"}, "attention: unknown 'flash'"),
        ({"compile": "yes"}, "compile must be true or false, got 'yes'"),
        ({"batch_size": True}, "batch_size must be an integer of at least 1"),
    ],
)
def test_bad_values_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        SamplerConfig(**options)


def test_the_defaults_are_the_papers():
    sampler = SamplerConfig()
    assert (sampler.scheduler, sampler.steps, sampler.guidance) == ("PNDMScheduler", 50, 7.5)
    assert (sampler.height, sampler.width) == (512, 512)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_an_absent_device_is_one_line():
    with pytest.raises(RunError, match=r"device=cuda was requested but torch .* finds no CUDA device; use device=cpu"):
        check_device("cuda")
    check_device("cpu")


# diffusers 0.42 calls np.array on an expression of tensors, which NumPy 2 answers with a warning
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
@pytest.mark.parametrize("name", ["DDIMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler"])
def test_the_scheduler_is_made_from_the_models_own(tiny_pipe, name):
    configure(tiny_pipe, tiny_sampler(scheduler=name))
    assert type(tiny_pipe.scheduler) is getattr(diffusers, name)
    assert tiny_pipe.scheduler.config.beta_schedule == "scaled_linear"
    assert call_pipeline(tiny_pipe, ["a dog"], [0], tiny_sampler(), output_type="np").images.std() > 0.01


def test_a_scheduler_of_another_family_is_refused(tiny_pipe):
    with pytest.raises(ValueError, match=r"FlowMatchEulerDiscreteScheduler does not fit .* allowed: DDIMScheduler"):
        configure(tiny_pipe, tiny_sampler(scheduler="FlowMatchEulerDiscreteScheduler"))


def test_naive_attention_replaces_the_fused_one_and_agrees(tiny_pipe):
    fused = call_pipeline(tiny_pipe, ["a dog"], [0], tiny_sampler(), output_type="np").images
    configure(tiny_pipe, tiny_sampler(attention="naive"))
    assert {type(p).__name__ for p in tiny_pipe.unet.attn_processors.values()} == {"AttnProcessor"}
    naive = call_pipeline(tiny_pipe, ["a dog"], [0], tiny_sampler(), output_type="np").images
    assert abs(naive - fused).max() <= 1e-5


def test_compiling_keeps_names_and_images(tiny_pipe):
    names = list(tiny_pipe.unet.state_dict())
    plain = call_pipeline(tiny_pipe, ["a dog"], [0], tiny_sampler(), output_type="np").images
    configure(tiny_pipe, tiny_sampler(compile=True))
    assert tiny_pipe.unet._compiled_call_impl is not None
    assert list(tiny_pipe.unet.state_dict()) == names
    with torch.compiler.set_stance("force_eager"):  # code generation needs minutes and a C++ compiler
        compiled = call_pipeline(tiny_pipe, ["a dog"], [0], tiny_sampler(), output_type="np").images
    assert abs(compiled - plain).max() <= 1e-5


def test_sizes_follow_the_vae_and_the_patch(tiny_pipe):
    assert size_multiple(tiny_pipe) == 8
    tiny_pipe.vae_scale_factor = 16
    assert size_multiple(tiny_pipe) == 16
    with pytest.raises(ValueError, match="height must be a multiple of 16, got 72; the nearest is 64"):
        configure(tiny_pipe, tiny_sampler(height=72))
    assert denoiser(tiny_pipe) is tiny_pipe.unet


def test_any_multiple_of_eight_works(tiny_original):
    images = call_pipeline(tiny_original, ["a dog"], [0], tiny_sampler(height=72, width=40), output_type="np").images
    assert images.shape == (1, 72, 40, 3)


def test_scheduler_names_are_those_that_diffusers_has_once_imported() -> None:
    found = [name for name in dir(diffusers.schedulers) if name.endswith("Scheduler") and not name.startswith("Flax")]
    assert scheduler_names() == sorted(found)

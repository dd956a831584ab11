"""Patches next to accelerate's hooks, which replace `forward` as the patch does."""

import accelerate.hooks
import pytest
import torch
from diffusers import UNet2DConditionModel

import retom
from tests.retom.tiny_unet import TINY


@pytest.fixture
def unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(**TINY).eval()


def offload(model: UNet2DConditionModel) -> None:
    """As `pipe.enable_model_cpu_offload()`, on the available device."""
    accelerate.hooks.add_hook_to_module(model, accelerate.hooks.CpuOffload(execution_device="cpu"))


def test_an_offloaded_model_is_not_patched_over(unet):
    offload(unet)
    with pytest.raises(ValueError, match=r"offloaded already; patch it before pipe\.enable_model_cpu_offload"):
        retom.apply_patch(unet)


def test_a_patched_model_is_offloaded_and_freed_between_generations(unet):
    x, texts = torch.randn(2, 4, 16, 16), [torch.randn(2, 7, 32) for _ in range(3)]
    retom.apply_patch(unet, period=2)
    for text in texts:  # pipelines take the hook off after every call and put it on again
        offload(unet)
        for step in range(3):
            with torch.no_grad():
                unet(x, torch.tensor(900 - step), text)
        accelerate.hooks.remove_hook_from_module(unet)
    site = retom.report(unet)[0]
    assert (site["plans_computed"], site["plans_reused"]) == (6, 3)
    retom.remove_patch(unet)
    assert "forward" not in vars(unet)


def test_the_patch_is_not_taken_from_under_the_offload(unet):
    retom.apply_patch(unet)
    offload(unet)
    with pytest.raises(ValueError, match=r"call pipe\.remove_all_hooks\(\), then remove the patch"):
        retom.remove_patch(unet)
    accelerate.hooks.remove_hook_from_module(unet)
    retom.remove_patch(unet)
    assert "forward" not in vars(unet)


def test_another_packages_forward_below_the_patch_stays(unet):
    accelerate.hooks.add_hook_to_module(unet, accelerate.hooks.AlignDevicesHook(execution_device="cpu"))
    before = dict(vars(unet))
    with retom.patched(unet):
        pass
    assert vars(unet) == before


def test_seeds_reach_a_model_whose_weights_are_elsewhere(unet):
    x, text = torch.randn(2, 4, 16, 16), torch.randn(2, 7, 32)
    accelerate.cpu_offload(unet, execution_device=torch.device("cpu"))
    retom.apply_patch(unet, destination="random")
    drawn = []
    for seeds in ([1, 2], [3, 4], [1, 2]):
        retom.set_seeds(unet, seeds)
        with torch.no_grad():
            drawn.append(unet(x, torch.tensor(900), text).sample)
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])

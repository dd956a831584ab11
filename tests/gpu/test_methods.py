"""Every method on one real tiny U-Net: finite outputs, the same bits twice, the tokens left that a CPU leaves.

The half that needs a GPU is marked `pytest.mark.gpu` by `tests.gpu.devices`; there it is float16.
"""

import contextlib
import copy

import pytest
import torch
from diffusers import UNet2DConditionModel

import retom
from baselines.adapter import Adapter
from tests.gpu.devices import HERE, ON_GPU
from tests.retom.tiny_unet import TINY

# By name: where the class is, and its options. What a machine lacks a package for is skipped and says so.
METHODS = {
    "oracle": ("baselines.oracle", "Oracle", {}),
    "retom": ("retom", "ReToM", {}),
    "retom_every_step": ("retom", "ReToM", {"period": 1, "window": 16, "source": "destination"}),
    "retom_random": ("retom", "ReToM", {"destination": "random"}),
    "retom_keys": ("retom", "ReToM", {"metric": "keys", "targets": ("self_kv",)}),
    "dynamic": ("baselines.dynamic", "Dynamic", {}),
    "tomesd": ("baselines.tomesd_package", "ToMeSDPackage", {}),
    "tomesd_plan": ("baselines.tomesd", "ToMeSD", {}),
    "atc": ("baselines.atc", "ATC", {}),
    "atc_reciprocal": ("baselines.atc", "ATC", {"implementation": "reciprocal"}),
    "tofu": ("baselines.tofu", "ToFu", {"prune": ()}),
    "tofu_pruning": ("baselines.tofu", "ToFu", {}),
    "sito": ("baselines.sito", "SiTo", {}),
    "toma": ("baselines.toma", "ToMA", {}),
    "ca_tome": ("baselines.ca_tome", "CAToMe", {"threshold": 0.0}),
    "ca_tome_fixed": ("baselines.ca_tome", "CAToMe", {"threshold": 0.0, "ratio": 0.5}),
    "ibtm": ("baselines.ibtm", "IBTM", {}),
    "todo": ("baselines.todo", "ToDo", {}),
}
LEFT_TO_CHANCE = ("tomesd",)  # the package adds tokens up atomically, so on a GPU its sums are in no fixed order
BY_CONTENT = ("ca_tome",)  # how many tokens are left follows similarities, which half precision moves
EXECUTED = ("retom", "retom_random", "tomesd_plan", "ca_tome_fixed")  # the plans that other backends execute as well


def method(name: str):
    module, kind, options = METHODS[name]
    return getattr(pytest.importorskip(module), kind)(**options)


@contextlib.contextmanager
def on(unet, chosen, backend: str):
    """The method on the U-Net; gives its report."""
    if isinstance(chosen, Adapter):
        chosen.apply(unet)
        try:
            chosen.set_seeds(unet, [7])
            yield lambda: chosen.report(unet)
        finally:
            chosen.remove(unet)
        return
    with retom.patched(unet, chosen, backend=backend):
        retom.set_seeds(unet, [7])
        yield lambda: retom.report(unet)


def denoise(unet, chosen, backend: str, device: str, dtype: torch.dtype):
    """Latents [2, 4, 18, 14] after a generation of a few calls that feed on each other; and what was merged."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 18, 14, generator=generator).to(device, dtype)
    text = torch.randn(2, 7, 32, generator=generator).to(device, dtype)
    with on(unet, chosen, backend) as report, torch.no_grad():
        for step in range(3):
            time = torch.tensor(900 - 10 * step, device=device)
            x = x - 0.1 * unet(x, timestep=time, encoder_hidden_states=text, return_dict=False)[0]
        return x, [(site["site"], site["tokens"], site["merged"]) for site in report()]


def runs() -> list:
    here = [(HERE, name, "gather") for name in METHODS]
    there = [pytest.param("cuda", name, "gather", marks=ON_GPU) for name in METHODS]
    there += [
        pytest.param("cuda", name, backend, marks=ON_GPU) for name in EXECUTED for backend in ("matmul", "triton")
    ]
    return [*here, *((HERE, name, "matmul") for name in EXECUTED), *there]


@pytest.mark.parametrize(("device", "name", "backend"), runs())
def test_a_method_does_on_the_device_what_it_promises(device, name, backend):
    chosen, dtype = method(name), torch.float32 if device == HERE else torch.float16
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        here = UNet2DConditionModel(**TINY).eval()
    unet = copy.deepcopy(here)
    unet = torch.nn.Module.to(unet, device, dtype)
    first, left = denoise(unet, chosen, backend, device, dtype)
    again, repeated = denoise(unet, chosen, backend, device, dtype)
    assert first.device.type == device
    assert torch.isfinite(first).all()
    if name not in LEFT_TO_CHANCE:
        assert torch.equal(first, again)
    assert left == repeated
    assert any(merged < tokens for _, tokens, merged in left)
    if name not in BY_CONTENT:
        assert left == denoise(here, chosen, "gather", HERE, torch.float32)[1]

"""A patched U-Net compiled whole gives what it gives eagerly, with CUDA graphs as well; plans outlive their graph.

The half that needs a GPU is marked `pytest.mark.gpu` by `tests.gpu.devices`. Last of this folder: compiling takes long.
"""

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch._dynamo.utils import counters

import retom
from scripts.bench_cases.methods import compile_patched
from tests.gpu.devices import HERE, ON_GPU
from tests.retom.tiny_unet import TINY

WAYS = [
    ("reduce-overhead", "triton", {"window": 2}),
    ("default", "triton", {"window": 16}),
    ("reduce-overhead", "gather", {"window": 2, "destination": "random", "metric": "block_input"}),
    ("default", "triton", {"window": 2, "destination": "random", "metric": "block_input"}),
]


def runs() -> list:
    """On the CPU dynamo traces with a backend that runs graphs as they are, and gather stands for Triton."""
    here = (pytest.param(HERE, "default", "gather", options, marks=pytest.mark.slow) for _, _, options in WAYS)
    return [*here,
            *(pytest.param("cuda", *way, marks=ON_GPU) for way in WAYS)]  # fmt: skip


@pytest.mark.parametrize(("device", "mode", "backend", "options"), runs())
def test_a_patched_model_compiles_as_one_graph(device, mode, backend, options):
    torch.compiler.reset()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = UNet2DConditionModel(**TINY).eval().to(device)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 16, 16, generator=generator).to(device)
    texts = [torch.randn(2, 7, 32, generator=generator).to(device) for _ in range(3)]
    times = [torch.tensor(900 - i, device=device) for i in range(5)]

    def draw(denoiser, text):
        with torch.no_grad():
            return [denoiser(x, time, text, return_dict=False)[0].clone() for time in times]

    with retom.patched(model, ratio=0.5, period=2, backend=backend, **options):
        retom.set_seeds(model, [4, 5])
        eager = [draw(model, text) for text in texts]
        if device == HERE:
            model.compile(fullgraph=True, backend="eager")
        else:
            compile_patched(model, mode, fullgraph=True)
        ours = [draw(model, text) for text in texts[:2]]
        graphs = counters["stats"]["unique_graphs"]
        ours.append(draw(model, texts[2]))
        assert counters["stats"]["unique_graphs"] == graphs
    for mine, other in zip(ours, eager, strict=True):
        for one, another in zip(mine, other, strict=True):
            torch.testing.assert_close(one, another, atol=1e-4, rtol=1e-3)

"""A small U-Net with one site, eager and compiled, under one method."""

import contextlib

import torch
from diffusers import UNet2DConditionModel

import retom
from baselines.adapter import Adapter
from retom.testing import UNET


class Counter:
    """A compiler backend that counts graphs and runs them unchanged.

    numbers: integers among their inputs. CUDA graphs are recorded again for every value of one.
    """

    def __init__(self):
        self.graphs = 0
        self.numbers: list[str] = []

    def __call__(self, graph, inputs):
        self.graphs += 1
        values = {node.name: node.meta["example_value"] for node in graph.graph.nodes if node.op == "placeholder"}
        self.numbers += [name for name, value in values.items() if isinstance(value, int | torch.SymInt)]
        return graph.forward


def loop(model, text: torch.Tensor, steps: int) -> torch.Tensor:
    """Latents [2, 4, 16, 16] after a few denoiser calls that feed on each other."""
    x = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for step in range(steps):
            x = x - 0.1 * model(x, torch.tensor(900 - 10 * step), encoder_hidden_states=text, return_dict=False)[0]
    return x


def check_one_graph_per_kind_of_step(method, steps: int, most: int) -> None:
    """Compiled results equal the eager ones, with at most `most` graphs and no more in later generations."""
    torch.compiler.reset()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = UNet2DConditionModel(**UNET).eval()
    texts = [torch.randn(2, 7, 32, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    with on(model, method) as report:
        eager = [loop(model, text, steps) for text in texts]
        assert any(site["merged"] < site["tokens"] for site in report())
        counter = Counter()
        compiled = torch.compile(model, fullgraph=True, backend=counter)
        ours = [loop(compiled, text, steps) for text in texts[:2]]
        graphs = counter.graphs
        ours.append(loop(compiled, texts[2], steps))
    assert counter.graphs == graphs <= most
    for left, right in zip(ours, eager, strict=True):
        torch.testing.assert_close(left, right, atol=1e-4, rtol=1e-3)


@contextlib.contextmanager
def on(model, method):
    """Apply either kind of method to a model; yields its report."""
    if not isinstance(method, Adapter):
        with retom.patched(model, method):
            yield lambda: retom.report(model)
        return
    method.apply(model)
    try:
        yield lambda: method.report(model)
    finally:
        method.remove(model)

"""A patched model compiles as one graph, and steps do not compile it again."""

import pytest
import torch
from diffusers import UNet2DConditionModel

import retom

TINY = {
    "sample_size": 16,
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "attention_head_dim": 2,
    "cross_attention_dim": 32,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}


class Counter:
    """A compiler backend that counts graphs and runs them as they are."""

    def __init__(self):
        self.graphs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1
        return graph.forward


def loop(model, text, steps, seed=0):
    x = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for step in range(steps):
            x = x - 0.1 * model(x, torch.tensor(900 - 10 * step), encoder_hidden_states=text, return_dict=False)[0]
    return x


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"backend": "matmul"},
        {"destination": "random"},
        {"targets": ("self_kv",), "share_plan": True},
        {"metric": "block_input", "targets": ("self", "ff")},
    ],
)
def test_fullgraph_and_no_recompilation_from_step_to_step(options):
    torch.compiler.reset()
    model = UNet2DConditionModel(**TINY).eval()
    texts = [torch.randn(2, 7, 32) for _ in range(4)]
    with retom.patched(model, ratio=0.5, window=2, period=4, **options):
        eager = [loop(model, text, 9) for text in texts]
        counter = Counter()
        compiled = torch.compile(model, fullgraph=True, backend=counter)
        warm = [loop(compiled, text, 9) for text in texts[:2]]
        graphs = counter.graphs
        others = [loop(compiled, text, 9) for text in texts[2:]]
    # a generation begins, begins after another one, refreshes, reuses; and step 1, which torch treats apart
    assert counter.graphs == graphs <= 5
    for ours, theirs in zip([*warm, *others], eager, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)

"""Call sequences of a model compiled as one graph, which cannot read its timesteps."""

import torch

import retom
from tests.baselines.compiling import Counter
from tests.retom.denoising import SCHEDULE, latents, side_by_side, step, text


def test_a_compiled_model_plans_again_when_embeddings_are_exchanged(unet):
    """Its graphs cannot distinguish other embeddings from another generation."""
    torch.compiler.reset()

    def travel(model, seed):
        x = latents(seed)
        for place, timestep in enumerate(SCHEDULE.clone()):
            x = step(model, x, timestep, text(place))
        return x

    with retom.patched(unet, ratio=0.5, period=20):
        eager = [travel(unet, seed) for seed in range(2)]
        compiled = torch.compile(unet, fullgraph=True, backend=Counter())
        ours = [travel(compiled, seed) for seed in range(2)]
    for mine, other in zip(ours, eager, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4)


def test_tiles_of_a_compiled_model_are_as_each_alone(unet):
    torch.compiler.reset()
    embeddings, tiles = text(), [latents(seed) for seed in range(2)]
    with retom.patched(unet, ratio=0.5, period=1):
        eager = side_by_side(unet, tiles, [embeddings] * 2)
    with retom.patched(unet, ratio=0.5, period=20):
        compiled = torch.compile(unet, fullgraph=True, backend=Counter())
        ours = side_by_side(compiled, tiles, [embeddings] * 2)  # it plans at every call, as in a period of 1
    for mine, other in zip(ours, eager, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4)

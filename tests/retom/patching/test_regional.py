"""Blocks that are compiled one by one share graphs, and a warning reports if torch's limit leaves some uncompiled."""

import warnings

import pytest
import torch
from diffusers import UNet2DConditionModel
from packaging.version import Version

import retom
from tests.baselines.compiling import Counter
from tests.retom.tiny_joint import MODELS, inputs
from tests.retom.tiny_unet import TINY

# Four blocks, of one width, on two grids.
UNET = {
    **TINY,
    "block_out_channels": (32, 32),
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
}


@pytest.fixture
def unet():
    torch.compiler.reset()
    torch.manual_seed(0)
    return UNet2DConditionModel(**UNET).eval()


def denoise(model, seed=0, steps=5):
    generator = torch.Generator().manual_seed(seed)
    x, text = torch.randn(2, 4, 16, 16, generator=generator), torch.randn(2, 7, 32, generator=generator)
    with torch.no_grad():
        for timestep in torch.linspace(900, 100, steps):
            x = x - 0.1 * model(x, timestep, encoder_hidden_states=text).sample
    return x


sharing = pytest.mark.skipif(
    Version(torch.__version__) < Version("2.11"), reason="torch before 2.11 looks at the name of every site"
)


@sharing
@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({"window": 2}, 4),  # a plan is made, or used again, on two grids
        ({"window": {"down": 2, "mid": 4, "up": 2}}, 7),  # windows are asked for by layer type
        pytest.param({"window": 2, "metric": "block_input"}, 4, marks=pytest.mark.slow),
        pytest.param({"window": 2, "targets": ("self_kv", "ff")}, 4, marks=pytest.mark.slow),
    ],
)
def test_blocks_alike_share_a_graph(unet, options, most):
    with retom.patched(unet, ratio=0.5, period=3, **options):
        eager = [denoise(unet, seed) for seed in range(3)]
        counter = Counter()
        unet.compile_repeated_blocks(backend=counter, fullgraph=True)
        ours = [denoise(unet, seed) for seed in range(2)]
        graphs = counter.graphs
        ours.append(denoise(unet, 2))
        rows = retom.report(unet)
    assert counter.graphs == graphs <= most
    for mine, other in zip(ours, eager, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4)
    assert {(row["plans_computed"], row["plans_reused"]) for row in rows} == {(12, 18)}  # eager and compiled


@sharing
@pytest.mark.parametrize("name", ["sd3", "flux"])
def test_blocks_of_a_transformer_share_graphs_too(name):
    """Twice as many as without the patch: one makes a plan, one reuses it."""

    def graphs(*options):
        torch.compiler.reset()
        model, counter = MODELS[name](), Counter()
        if options:
            retom.apply_patch(model, *options)
        for block in (*model.transformer_blocks, *getattr(model, "single_transformer_blocks", ())):
            block.compile(backend=counter, fullgraph=True)
        call = inputs(model)
        with torch.no_grad():
            for step in range(5):
                call["timestep"] = torch.full_like(call["timestep"], 0.9 - 0.1 * step)
                model(**call)
        return counter.graphs

    assert graphs(retom.ReToM(ratio=0.5, window=2, period=3)) <= 2 * graphs()


def test_torchs_limit_of_graphs_is_reported_once(unet):
    with (
        torch._dynamo.config.patch(recompile_limit=3),
        retom.patched(unet, ratio=0.5, window=2, period=3),
    ):
        unet.compile_repeated_blocks(backend=Counter())
        with pytest.warns(UserWarning, match=r"reached torch's limit of 3 graphs, .*recompile_limit = 12") as output:
            denoise(unet)
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            denoise(unet, 1)
    assert len([warning for warning in output if "limit of 3" in str(warning.message)]) == 1

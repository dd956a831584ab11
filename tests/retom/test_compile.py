"""A patched model compiles as one graph, and steps do not compile it again."""

import pytest
import torch
from diffusers import UNet2DConditionModel

import retom
from tests.baselines.compiling import Counter, loop
from tests.retom.tiny_joint import MODELS, flux, inputs
from tests.retom.tiny_unet import TINY


@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"backend": "matmul"}, marks=pytest.mark.slow),
        pytest.param({"destination": "random"}, marks=pytest.mark.slow),
        pytest.param({"targets": ("self_kv",), "share_plan": True}, marks=pytest.mark.slow),
        pytest.param({"metric": "block_input", "targets": ("self", "ff")}, marks=pytest.mark.slow),
    ],
)
def test_fullgraph_and_no_recompilation_from_step_to_step(options):
    torch.compiler.reset()
    model = UNet2DConditionModel(**TINY).eval()
    texts = [torch.randn(2, 7, 32) for _ in range(4)]
    with retom.patched(model, ratio=0.5, window=2, period=4, **options):
        retom.set_seeds(model, [3, 4])
        eager = [loop(model, text, 9) for text in texts[:2]]
        retom.set_seeds(model, [5, 6])
        eager += [loop(model, text, 9) for text in texts[2:]]
        counter = Counter()
        compiled = torch.compile(model, fullgraph=True, backend=counter)
        retom.set_seeds(model, [3, 4])
        warm = [loop(compiled, text, 9) for text in texts[:2]]
        graphs = counter.graphs
        retom.set_seeds(model, [5, 6])
        others = [loop(compiled, text, 9) for text in texts[2:]]
    # a generation begins after a reset or after another, refreshes, reuses; and torch treats the first number apart
    assert counter.graphs == graphs <= (5 if options.get("destination") else 4)
    assert [name.rpartition("_")[2] for name in counter.numbers] == (["number"] if options.get("destination") else [])
    for ours, theirs in zip([*warm, *others], eager, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


class Overwriting:
    """A compiler backend that reuses the memory of its last outputs, as CUDA graphs do."""

    def __init__(self):
        self.returned: list[torch.Tensor] = []

    def __call__(self, graph, inputs):
        def run(*args):
            for tensor in self.returned:
                tensor.zero_()
            out = [x.clone() if isinstance(x, torch.Tensor) else x for x in graph.forward(*args)]
            self.returned[:] = [x for x in out if isinstance(x, torch.Tensor)]
            return out

        return run


def overwritten(model, text, after):
    """Denoiser calls that each overwrite the memory of the previous one."""
    x, seen = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0)), []
    with torch.no_grad():
        for step in range(7):
            seen.append(model(x, torch.tensor(900 - step), encoder_hidden_states=text, return_dict=False)[0].clone())
            after()
    return torch.stack(seen)


@pytest.mark.parametrize("options", [{}, {"backend": "matmul", "destination": "random", "share_plan": True}])
def test_plans_outlive_the_memory_of_a_cuda_graph(options):
    torch.compiler.reset()
    model = UNet2DConditionModel(**TINY).eval()
    texts = [torch.randn(2, 7, 32) for _ in range(3)]
    with retom.patched(model, ratio=0.5, window=2, period=3, **options):
        retom.set_seeds(model, [3, 4])
        eager = [overwritten(model, text, lambda: None) for text in texts]
        compiled = torch.compile(model, fullgraph=True, backend=Overwriting())
        ours = [overwritten(compiled, text, lambda: retom.own_plans(model)) for text in texts]
        lost = overwritten(compiled, texts[0], lambda: None)
    for mine, other in zip(ours, eager, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(lost[1], eager[0][1], atol=1e-3)


@pytest.mark.slow
def test_another_resolution_is_another_graph():
    torch.compiler.reset()
    model = UNet2DConditionModel(**TINY).eval()
    text = torch.randn(2, 7, 32)
    with retom.patched(model, ratio=0.5, window=2), torch.no_grad():
        compiled = torch.compile(model, fullgraph=True, backend=Counter())
        for size in [(16, 16), (20, 12), (24, 16)]:
            out = compiled(torch.randn(2, 4, *size), torch.tensor(500), encoder_hidden_states=text).sample
            assert out.shape[-2:] == size
            assert retom.report(model)[0]["grid"] == list(size)


def denoise(model, call, steps=7):
    """A generation with new text embeddings and new position ids, as in a pipeline."""
    call = {name: value.clone() for name, value in call.items()}
    with torch.no_grad():
        for step in range(steps):
            call["timestep"] = torch.full_like(call["timestep"], 0.9 - 0.1 * step)
            call["hidden_states"] = call["hidden_states"] - 0.1 * model(**call, return_dict=False)[0]
    return call["hidden_states"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sd35", "flux"])
def test_attention_over_text_and_image_compiles(name):
    torch.compiler.reset()
    model = MODELS[name]()
    calls = [inputs(model, seed=seed) for seed in range(4)]
    with retom.patched(model, ratio=0.5, window=2, period=3):
        eager = [denoise(model, call) for call in calls]
        counter = Counter()
        compiled = torch.compile(model, fullgraph=True, backend=counter)
        warm = [denoise(compiled, call) for call in calls[:2]]
        graphs = counter.graphs
        others = [denoise(compiled, call) for call in calls[2:]]
    assert counter.graphs == graphs <= 5
    for ours, theirs in zip([*warm, *others], eager, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_a_compiled_flux_never_takes_one_grid_for_another():
    """The grid is a constant of a graph; as many tokens in other rows and columns raise an error."""
    torch.compiler.reset()
    model = flux()
    with retom.patched(model, ratio=0.5, window=2), torch.no_grad():
        compiled = torch.compile(model, fullgraph=True, backend=Counter())
        for seed in range(2):  # a first generation, and one after another, are two graphs
            compiled(**inputs(model, grid=(4, 6), seed=seed))
        with pytest.raises(RuntimeError, match=r"call torch\.compiler\.reset\(\)"):
            compiled(**inputs(model, grid=(6, 4)))
        torch.compiler.reset()
        compiled(**inputs(model, grid=(6, 4)))
        assert retom.report(model)[0]["grid"] == [6, 4]
        compiled(**inputs(model, grid=(3, 5)))
        assert retom.report(model)[0]["grid"] == [3, 5]


@pytest.mark.parametrize(("ratio", "slots"), [(0.29, (71, 50, 71)), (0.5, (50, 35, 50))])
def test_a_compiled_plan_has_the_same_counts_on_any_grid(ratio, slots):
    def merged_and_back(x, grid):
        plan = retom.merge_plan(x, grid, window=10, ratio=ratio)
        return plan.merge(x), plan.unmerge(plan.merge(x))

    torch.compiler.reset()
    compiled = torch.compile(merged_and_back, fullgraph=True, backend=Counter())
    for grid, merged in zip([(10, 10), (7, 10), (9, 11)], slots, strict=True):
        x = torch.randn(2, grid[0] * grid[1], 8)
        ours, theirs = compiled(x, grid), merged_and_back(x, grid)
        assert ours[0].shape[1] == merged
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])

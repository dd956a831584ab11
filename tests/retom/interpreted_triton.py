"""What the kernels compute, in Triton's interpreter on the CPU: run by test_triton.py with TRITON_INTERPRET=1.

The interpreter is selected when Triton is imported, for the complete process. Other tests need compiled kernels.
"""

import itertools

import pytest
import torch

import retom
from tests.gpu.launches import interpreted

DESTINATIONS = ("representative", "least", "random")
SOURCES = ("average", "destination")
CHOICES = list(itertools.product(DESTINATIONS, SOURCES))
SEEDS = torch.tensor([3, 2**40 + 7, -5])
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}


def tokens(grid, channels, batch=2, dtype=torch.float32, seed=0):
    return torch.randn(batch, grid[0] * grid[1], channels, generator=torch.Generator().manual_seed(seed)).to(dtype)


def both(x, grid, **options):
    options = {"ratio": 0.5, "alpha": 0.3, "seeds": SEEDS[: x.shape[0]], "step": 5, "layer": 2, **options}
    return (retom.merge_plan(x, grid, backend=backend, **options) for backend in ("gather", "triton"))


def assert_same_plan(ours, theirs):
    assert ours.num_merged == theirs.num_merged
    for name in ("assign", "weight", "dst_index", "order", "starts"):
        mine, other = getattr(ours, name), getattr(theirs, name)
        assert mine.dtype == other.dtype, name
        assert torch.equal(mine, other), name


def assert_same_rows(ours, theirs, x):
    merged, tolerance = ours.merge(x), TOLERANCE[x.dtype]
    assert merged.dtype == x.dtype
    torch.testing.assert_close(merged, theirs.merge(x), atol=tolerance, rtol=tolerance)
    assert torch.equal(ours.unmerge(merged), theirs.unmerge(merged))


@pytest.mark.parametrize(("destination", "source"), CHOICES)
@pytest.mark.parametrize(("grid", "window"), [((1, 2), 2), ((3, 5), 16), ((8, 8), 3)])
def test_plans_equal_those_of_gather(grid, window, destination, source):
    x = tokens(grid, 5 if destination == "least" else 40)
    gather, triton = both(x, grid, window=window, destination=destination, source=source)
    assert_same_plan(triton, gather)
    assert_same_rows(triton, gather, x)


@pytest.mark.slow
@pytest.mark.parametrize(("place", "grid", "window", "channels"), [
    (0, (18, 14), 2, 130), (1, (18, 14), 3, 40), (2, (16, 18), 16, 40), (3, (16, 16), 16, 130), (4, (17, 9), 8, 130),
    (5, (9, 17), 16, 130), (1, (18, 14), 8, 5), (2, (18, 14), 8, 40), (0, (8, 8), 8, 320),
])  # fmt: skip
def test_larger_plans_equal_those_of_gather(place, grid, window, channels):
    x = tokens(grid, channels)
    destination, source = CHOICES[place]
    gather, triton = both(x, grid, window=window, destination=destination, source=source, ratio=0.7)
    assert_same_plan(triton, gather)
    assert_same_rows(triton, gather, x)


@pytest.mark.parametrize(
    ("destination", "source"), [CHOICES[0], *(pytest.param(*c, marks=pytest.mark.slow) for c in CHOICES[1:])]
)
def test_windows_beyond_one_program(destination, source):
    grid, window = ((20, 17), 32) if source == "average" else ((18, 20), 17)
    x = tokens(grid, 20)
    gather, triton = both(x, grid, window=window, destination=destination, source=source)
    assert_same_plan(triton, gather)
    assert_same_rows(triton, gather, x)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("ratio", [0.1, 0.75, 0.99])
def test_dtypes_and_ratios(dtype, ratio):
    x = tokens((9, 6), 24, dtype=dtype)
    gather, triton = both(x, (9, 6), window=4, ratio=ratio)
    assert_same_plan(triton, gather)
    assert_same_rows(triton, gather, x)


def test_one_channel_has_ties_and_still_a_plan():
    """All tokens of one sign are equally similar, up to rounding: any of them may be first, and each has one rank."""
    x = tokens((8, 8), 1)
    _, plan = both(x, (8, 8), window=4)
    slots = plan.assign.gather(1, plan.order)
    assert torch.equal(plan.order.sort(1).values, torch.arange(64).expand(2, -1))
    assert torch.equal(slots, slots.sort(1).values)
    assert torch.equal(plan.assign.gather(1, plan.dst_index), torch.arange(plan.num_merged).expand(2, -1))
    assert_same_rows(plan, plan.on("gather"), x)


def test_a_window_of_one_and_ratio_zero_are_the_identity():
    x = tokens((3, 5), 4)
    for options in ({"window": 1}, {"window": 3, "ratio": 0.0}):
        _, plan = both(x, (3, 5), **options)
        assert plan.is_identity
        assert plan.merge(x) is x


def test_equal_tokens_tie_towards_the_lower_index_and_nan_leaves_no_place_empty():
    plan = retom.merge_plan(torch.ones(1, 16, 4), (4, 4), window=4, ratio=0.5, backend="triton")
    assert plan.dst_index[0].tolist() == [0, 9, 10, 11, 12, 13, 14, 15]
    lost = torch.full((1, 16, 4), float("nan"))
    plan = retom.merge_plan(lost, (4, 4), window=4, ratio=0.5, backend="triton", destination="least")
    assert sorted(plan.order[0].tolist()) == list(range(16))


@pytest.mark.parametrize("layout", ["channels first", "every second channel", "tokens of a longer sequence"])
def test_strided_input_is_read_in_place(layout, monkeypatch):
    x = tokens((6, 5), 24)
    if layout == "channels first":
        strided = x.transpose(1, 2).contiguous().transpose(1, 2)
    elif layout == "every second channel":
        strided = torch.stack([x, -x], dim=-1).flatten(2)[..., ::2]
    else:
        strided = torch.cat([x, x], dim=1)[:, :30]
    assert not strided.is_contiguous()
    plain, plan = both(strided, (6, 5), window=2)
    expected, merged = plain.merge(x), x.transpose(1, 2).contiguous().transpose(1, 2)[:, : plain.num_merged]
    monkeypatch.setattr(torch.Tensor, "contiguous", None)  # a copy would fail
    assert torch.equal(plan.order, plain.order)
    torch.testing.assert_close(plan.merge(strided), expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(plan.unmerge(merged), plain.unmerge(merged))


def test_a_plan_goes_from_backend_to_backend():
    assign = torch.randint(1, 12, (2, 72), generator=torch.Generator().manual_seed(1))
    assign[:, :50], assign[:, 50:62] = 0, torch.arange(12)
    dst_index = torch.stack([torch.stack([(row == slot).nonzero()[0, 0] for slot in range(12)]) for row in assign])
    plan = retom.MergePlan.from_clusters(assign, None, dst_index)
    for other in (plan.on("triton"), plan.on("triton").on("matmul")):
        assert_same_rows(other, plan, tokens((9, 8), 20))


@pytest.mark.parametrize(
    ("grid", "window", "planning"),
    [
        ((5, 7), 2, ["plan_windows"]),
        ((18, 14), 16, ["plan_windows"]),
        ((17, 20), 17, ["score_windows", "rank_windows"]),
    ],
)
def test_launches_of_a_site(grid, window, planning, monkeypatch):
    x = tokens(grid, 8, batch=1)

    def site():
        plan = retom.merge_plan(x, grid, window=window, ratio=0.5, source="destination", backend="triton")
        plan = retom.MergePlan(*plan.parts())
        plan.unmerge(plan.merge(x))

    assert interpreted(site, monkeypatch) == [*planning, "merge_rows", "unmerge_rows"]


def test_what_kernels_cannot_take_is_refused():
    x = tokens((4, 4), 6)
    plan = retom.merge_plan(x, (4, 4), window=2, ratio=0.5, backend="triton")
    with pytest.raises(ValueError, match=r"takes float32, float16 or bfloat16, got torch.float64; choose"):
        plan.merge(x.double())
    with pytest.raises(ValueError, match="backend 'triton' has no gradient"):
        plan.merge(x.clone().requires_grad_())
    with torch.no_grad():
        plan.merge(x.clone().requires_grad_())


@pytest.mark.parametrize("options", [{}, {"destination": "random", "source": "destination", "metric": "block_input"}])
def test_a_patched_model_gives_what_gather_gives(options):
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    model = UNet2DConditionModel(
        sample_size=8, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8, attention_head_dim=2,
        cross_attention_dim=32, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ).eval()  # fmt: skip
    out = {}
    for backend in ("gather", "triton"):
        with retom.patched(model, ratio=0.5, window=2, period=2, backend=backend, **options), torch.no_grad():
            retom.set_seeds(model, [4, 5])
            text = torch.ones(2, 7, 32)
            x = tokens((8, 8), 4).transpose(1, 2).reshape(2, 4, 8, 8)
            for step in (900, 800):
                x = model(x, torch.tensor(step), encoder_hidden_states=text, return_dict=False)[0]
        out[backend] = x
    torch.testing.assert_close(out["triton"], out["gather"], atol=1e-5, rtol=1e-4)

"""Backends agree on plans and on rows: float32, float16, bfloat16, any strides, odd grids, every window.

The half that needs a GPU is marked `pytest.mark.gpu` by `tests.gpu.devices`.
"""

import dataclasses

import pytest
import torch

import retom
from baselines.toma import ToMA
from retom import DensePlan, MergePlan
from tests.baselines.generating import context
from tests.gpu.devices import HERE, INTERPRETED, everywhere, on_every_backend, on_triton
from tests.gpu.launches import launches

TOLERANCE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
SEEDS = (3, 2**40 + 7, -5)


@dataclasses.dataclass(frozen=True)
class Case:
    """One site: as Stable Diffusion has them on a GPU, smaller in Triton's interpreter."""

    grid: tuple[int, int]
    window: int
    channels: int
    dtype: torch.dtype = torch.float16
    batch: int = 2
    destination: str = "representative"
    source: str = "average"
    layout: str = "plain"

    def __str__(self) -> str:
        kind = str(self.dtype).removeprefix("torch.")
        grid = "x".join(map(str, self.grid))
        words = (self.destination, self.source, self.layout.replace(" ", "_"))
        return f"{grid}-w{self.window}-C{self.channels}-B{self.batch}-{kind}-{'-'.join(words)}"

    @property
    def fitted(self) -> "Case":
        """The case itself, or what the interpreter can do of it in a second."""
        if not INTERPRETED:
            return self
        grid = tuple(min(side, 18) for side in self.grid)
        return dataclasses.replace(self, grid=grid, channels=min(self.channels, 24), batch=min(self.batch, 2))

    @property
    def options(self) -> dict:
        """Of `merge_plan`."""
        seeds = [SEEDS[image % 3] + image for image in range(self.batch)]
        return {"window": self.window, "ratio": 0.5, "alpha": 0.3, "destination": self.destination,
                "source": self.source, "seeds": seeds, "step": 5, "layer": 2}  # fmt: skip


# Sites of SD 1.5 at 512 px and SDXL, windows of the tables, windows that a program cannot hold, odd grids.
CASES = [
    Case((64, 64), 2, 320),
    Case((64, 64), 2, 320, torch.float32, layout="feature map"),
    Case((64, 64), 2, 320, torch.bfloat16, destination="random", source="destination", layout="part of a batch"),
    Case((64, 64), 16, 320, layout="feature map"),
    Case((64, 64), 16, 320, torch.bfloat16, 1, "random"),
    Case((32, 32), 8, 640, destination="least", layout="feature map"),
    Case((8, 8), 8, 1280, batch=16),
    Case((8, 8), 2, 1280, source="destination", layout="one row for all"),
    Case((33, 50), 8, 320, source="destination", layout="some channels"),
    Case((18, 14), 3, 40, torch.float32, destination="least", source="destination"),
    Case((1, 77), 2, 40),
    Case((77, 1), 3, 40, torch.float32, destination="random"),
    Case((3, 5), 16, 130, torch.bfloat16, 16, "random", "destination"),
    Case((64, 64), 64, 320, source="destination"),
    Case((40, 40), 40, 320, torch.float32, destination="random", layout="feature map"),
    Case((33, 50), 33, 40, torch.bfloat16, 16, "least"),
]


def tokens(case: Case, device: str, seed: int = 0) -> torch.Tensor:
    """Tokens [B, N, C] in the case's layout; the same numbers on any device."""
    shape = (case.batch, case.grid[0] * case.grid[1], case.channels)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device, case.dtype)
    if case.layout == "feature map":
        return x.transpose(1, 2).contiguous().transpose(1, 2)
    if case.layout == "part of a batch":
        return torch.stack([x, -x], dim=1).flatten(0, 1)[::2]
    if case.layout == "one row for all":
        return x[:1].expand(shape)
    if case.layout == "some channels":
        return torch.cat([-x, x, -x], dim=2)[..., case.channels : 2 * case.channels]
    return x


def exactly(plan: MergePlan, x: torch.Tensor) -> torch.Tensor:
    """What a plan's merge must give, [B, M, C] float64: its weights as a matrix."""
    batch, num_tokens = plan.assign.shape
    maps = torch.zeros(batch, plan.num_merged, num_tokens, dtype=torch.float64)
    maps.scatter_(1, plan.assign.cpu()[:, None], plan.weight.cpu().double()[:, None])
    return maps @ x.cpu().double()


def assert_close(ours: torch.Tensor, exact: torch.Tensor) -> None:
    tolerance = TOLERANCE[ours.dtype]
    torch.testing.assert_close(ours.cpu().double(), exact, atol=tolerance, rtol=tolerance)


def assert_is_a_plan(plan: MergePlan) -> None:
    """Every token in one slot, every slot used, destinations in their own slots."""
    batch, num_tokens = plan.assign.shape
    slots = plan.assign.gather(1, plan.order)
    every = torch.arange(plan.num_merged, device=slots.device)
    assert torch.equal(plan.order.sort(1).values, torch.arange(num_tokens, device=slots.device).expand(batch, -1))
    assert torch.equal(slots, slots.sort(1).values)
    assert torch.equal(plan.assign.gather(1, plan.dst_index), every.expand(batch, -1))


@on_every_backend
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_site_is_planned_merged_and_unmerged_as_the_reference_has_it(device, backend, case):
    case = case.fitted
    x = tokens(case, device)
    assert x.is_contiguous() == (case.layout == "plain" or (case.layout == "feature map" and 1 in case.grid))
    plan = retom.merge_plan(x, case.grid, backend=backend, **case.options)
    reference = retom.merge_plan(x.cpu().contiguous(), case.grid, **case.options)
    assert plan.num_merged == reference.num_merged
    assert_is_a_plan(plan)
    # Scores that differ by rounding alone may change places; there are few of them.
    assert (plan.assign.cpu() == reference.assign).float().mean() > 0.99
    merged = plan.merge(x)
    assert (merged.dtype, merged.device) == (x.dtype, x.device)
    assert_close(merged, exactly(plan, x))
    turned = merged.transpose(1, 2).contiguous().transpose(1, 2)
    expected = merged.gather(1, plan.assign[..., None].expand(-1, -1, case.channels))
    for rows in (merged, turned):
        assert torch.equal(plan.unmerge(rows), expected)


@on_every_backend
@pytest.mark.parametrize("case", [CASES[0], CASES[11], CASES[14]], ids=str)
def test_the_same_input_gives_the_same_bits_on_any_stream(device, backend, case):
    case = case.fitted
    x = tokens(case, device)

    def run() -> list[torch.Tensor]:
        plan = retom.merge_plan(x, case.grid, backend=backend, **case.options)
        merged = plan.merge(x)
        return [plan.assign, plan.weight, plan.order, merged, plan.unmerge(merged)]

    first, again = run(), run()
    assert all(map(torch.equal, first, again))
    if device != HERE:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            aside = run()
        stream.synchronize()
        assert all(map(torch.equal, first, aside))


@on_every_backend
def test_images_of_a_batch_do_not_touch_each_other(device, backend):
    case = dataclasses.replace(CASES[4], batch=3).fitted
    x = tokens(case, device)
    together = retom.merge_plan(x, case.grid, backend=backend, **case.options)
    for image in range(case.batch):
        one = slice(image, image + 1)
        options = case.options | {"seeds": case.options["seeds"][one]}
        alone = retom.merge_plan(x[one], case.grid, backend=backend, **options)
        assert torch.equal(alone.assign, together.assign[one])
        assert_close(alone.merge(x[one]), exactly(alone, x[one]))
        if backend != "matmul":  # whose products of matrices are chosen by their shape
            assert torch.equal(alone.merge(x[one]), together.merge(x)[one])


@on_every_backend
def test_clusters_of_any_size_are_means_or_weighted_sums(device, backend):
    """As the peers make them: a cluster longer than a tile, others of one token."""
    generator = torch.Generator().manual_seed(1)
    assign = torch.randint(1, 12, (2, 72), generator=generator)
    assign[:, :50], assign[:, 50:62] = 0, torch.arange(12)
    dst_index = torch.stack([torch.stack([(row == slot).nonzero()[0, 0] for slot in range(12)]) for row in assign])
    weight = torch.rand(2, 72, generator=generator)
    x = torch.randn(2, 72, 40, generator=generator).to(device)
    for weights in (None, weight.to(device)):
        plan = MergePlan.from_clusters(assign.to(device), weights, dst_index.to(device), backend=backend)
        for dtype in TOLERANCE:
            assert_close(plan.merge(x.to(dtype)), exactly(plan, x.to(dtype)))


@on_every_backend
def test_a_mean_of_large_halves_does_not_overflow(device, backend):
    x = torch.full((1, 64, 8), 60000.0, dtype=torch.float16, device=device)
    every = torch.zeros(1, 64, dtype=torch.int64, device=device)
    plan = MergePlan.from_clusters(every, None, every[:, :1], backend=backend)
    assert torch.isfinite(plan.merge(x)).all()


@on_every_backend
@pytest.mark.parametrize("destination", ["representative", "least"])
@pytest.mark.parametrize("window", [4, 18])
def test_nan_leaves_no_place_empty(device, backend, destination, window):
    x = torch.randn(2, 18 * 18, 8, generator=torch.Generator().manual_seed(0)).to(device)
    x[0, 3:40], x[1] = float("nan"), float("nan")
    options = {"window": window, "ratio": 0.5, "destination": destination, "source": "destination"}
    assert_is_a_plan(retom.merge_plan(x, (18, 18), backend=backend, **options))


@on_every_backend
@pytest.mark.parametrize("far", ["images", "tokens"])
def test_rows_beyond_two_thousand_million_elements_are_reached(device, backend, far):
    """Batches of high resolution and video: offsets do not fit into 32 bits. On the CPU they are small."""
    distance = 1_200_000_000 if device != HERE else 1200
    room = torch.empty(3 * distance, dtype=torch.float16, device=device)
    strides = (distance, 8, 1) if far == "images" else (0, distance // 8, 1)
    x = room.as_strided((3, 16, 8) if far == "images" else (1, 16, 8), strides)
    x.copy_(torch.randn(x.shape, generator=torch.Generator().manual_seed(0)))
    plan = retom.merge_plan(x, (4, 4), window=2, ratio=0.5, backend=backend)
    near = retom.merge_plan(x.contiguous(), (4, 4), window=2, ratio=0.5, backend=backend)
    assert torch.equal(plan.assign, near.assign)
    assert_close(plan.merge(x), exactly(plan, x))


@everywhere
@pytest.mark.parametrize("region", ["tile", "stripe", "global"])
def test_a_dense_plan_is_its_matrices(device, region):
    grid = (18, 14)
    x = torch.randn(2, 18 * 14, 40, generator=torch.Generator().manual_seed(0)).to(device)
    seeds = context(seeds=(1, 2)).seeds.to(device)
    plan = ToMA(ratio=0.5, region=region, side=6).plan(x, grid, dataclasses.replace(context(), seeds=seeds))
    assert isinstance(plan, DensePlan)
    every = torch.eye(18 * 14, dtype=torch.float64, device=device).expand(2, -1, -1)
    merge, unmerge = plan.merge(every), plan.unmerge(every[:, : plan.num_merged, : plan.num_merged])
    for dtype in (torch.float32, torch.float16):
        merged = plan.merge(x.to(dtype))
        assert_close(merged, (merge @ x.to(dtype).double()).cpu())
        assert_close(plan.unmerge(merged), (unmerge @ merged.double()).cpu())


@on_triton
@pytest.mark.parametrize(("window", "planning"), [(2, 1), (16, 1), (18, 2)])
def test_a_site_costs_as_many_launches_as_promised(device, window, planning, monkeypatch):
    x = torch.randn(2, 18 * 18, 40, device=device)

    def plan():
        return retom.merge_plan(x, (18, 18), window=window, ratio=0.5, backend="triton")

    made = plan()
    assert launches(plan, device, monkeypatch) == planning
    assert launches(lambda: made.merge(x), device, monkeypatch) == 1
    assert launches(lambda: made.unmerge(made.merge(x)), device, monkeypatch) == 2

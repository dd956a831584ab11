"""Check your own merging method against the laws that every method must obey.

    retom.testing.check_method(MyMethod(ratio=0.5))

runs `plan` over grids, batches, dtypes, seeds, ratios and steps, and the method on a small U-Net. docs/extending.md
lists the laws. Use it in a test, like scikit-learn's `check_estimator`.
"""

import dataclasses
import inspect
import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from retom.method import SiteContext, TokenMerger, check_merger
from retom.patching.patch import patched, report, set_seeds
from retom.plans.base import Plan
from retom.plans.dense import DensePlan
from retom.plans.merge_plan import MergePlan
from retom.state.rows import Rows

GRIDS = ((1, 1), (3, 5), (8, 8), (6, 16))
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
RATIOS = (0.25, 0.5)
CHANNELS = 32
UNET = {  # with one site
    "sample_size": 16,
    "block_out_channels": (16,),
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "attention_head_dim": 2,
    "cross_attention_dim": 32,
    "down_block_types": ("CrossAttnDownBlock2D",),
    "mid_block_type": None,
    "up_block_types": ("UpBlock2D",),
}
_LONG = 60  # steps, more than most generations have
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.15, torch.float16: 0.02}


def check_method(method: TokenMerger) -> None:
    """Check a method against every law. Takes about a second on a CPU.

    Args:
        method: the method with its options. If it has a field `ratio`, other ratios are tested as well.

    Raises:
        AssertionError: with the violated law and the case in which it is violated.
        ValueError: for an attribute that the hooks do not support, or an invalid plan.
    """
    check_merger(method)
    frozen = dataclasses.is_dataclass(method) and type(method).__dataclass_params__.frozen
    _hold(frozen, "a method is a frozen dataclass", type(method).__name__)
    for variant in _variants(method):
        for grid, images in itertools.product(GRIDS, (1, 2)):
            case = _Case(variant, grid, images)
            _check_plans(case)
        _check_ratio_zero(variant)
    _check_on_model(method)


@dataclasses.dataclass(frozen=True)
class _Case:
    """A method, a grid and a number of images, each in two branches of guidance."""

    method: TokenMerger
    grid: tuple[int, int]
    images: int

    def __str__(self) -> str:
        ratio = getattr(self.method, "ratio", None)
        given = "" if ratio is None else f", ratio {ratio}"
        return f"grid {self.grid}, {self.images} images{given}"

    @property
    def rows(self) -> Rows:
        return Rows(2 * self.images, 1, self.images)

    def tokens(self, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
        shape = (self.rows.count, self.grid[0] * self.grid[1], CHANNELS)
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)

    def context(self, step: int = 0, memory: dict[str, Any] | None = None, rows: Tensor | None = None) -> SiteContext:
        """The context of all rows, or of `rows`, which are those of one image."""
        picked = torch.arange(self.rows.count) if rows is None else rows
        latents = torch.randn(
            (self.rows.count, 4, 2 * self.grid[0], 2 * self.grid[1]), generator=torch.Generator().manual_seed(step)
        )
        return SiteContext(
            name="down_blocks.0.attentions.0.transformer_blocks.0",
            layer=0,
            layer_type="down",
            downsample=1,
            step=step,
            seeds=(11 + 2**40 * self.rows.image())[picked],
            memory={} if memory is None else memory,
            output=latents[picked] if self.method.needs_output and step else None,
            rows=self.rows if rows is None else Rows(len(picked), 1, 1),
        )

    def plan(self, x: Tensor, **options: Any) -> Plan | None:
        """The plan of the method, checked as every plan must be."""
        before, state = x.clone(), torch.get_rng_state()
        plan = self.method.plan(x, self.grid, self.context(**options))
        _hold(torch.equal(x, before), "plan does not change its tokens", self)
        _hold(torch.equal(torch.get_rng_state(), state), "plan does not use the global random generator", self)
        if plan is None:
            return None
        _hold(isinstance(plan, Plan), "plan returns a retom.Plan or None", self)
        _hold((plan.batch, plan.num_tokens) == tuple(x.shape[:2]), "a plan is for the tokens it was made from", self)
        plan.check()
        return plan


def _variants(method: TokenMerger) -> Iterator[TokenMerger]:
    """The method, and copies of it with other ratios if it has that field and accepts them."""
    yield method
    if "ratio" in inspect.signature(type(method)).parameters:
        for ratio in RATIOS:
            try:
                yield _with_ratio(method, ratio)
            except ValueError:  # a ratio that this method does not accept
                continue


def _with_ratio(method: Any, ratio: float) -> TokenMerger:
    changed: TokenMerger = dataclasses.replace(method, ratio=ratio)
    return changed


def _check_plans(case: _Case) -> None:
    x = case.tokens()
    plan = case.plan(x)
    if plan is None:
        return
    for dtype in DTYPES:
        _check_maps(case, plan, dtype)
    _check_clusters(case, plan)
    _check_again(case, plan, x)
    _check_images(case, plan, x)
    _check_steps(case)


def _check_maps(case: _Case, plan: Plan, dtype: torch.dtype) -> None:
    """Merging is linear, preserves the dtype and is the same on every backend."""
    x, y, tolerance = case.tokens(dtype, seed=1), case.tokens(dtype, seed=2), _TOLERANCE[dtype]
    merged = plan.merge(x)
    _hold(merged.shape == (plan.batch, plan.num_merged, CHANNELS), "merge returns [B, M, C]", case)
    _hold(merged.dtype == dtype and plan.unmerge(merged).dtype == dtype, "plans preserve the dtype", f"{case}, {dtype}")
    _hold(plan.unmerge(merged).shape == x.shape, "unmerge returns [B, N, C]", case)
    if dtype == torch.float32 and type(plan) in (MergePlan, DensePlan):  # a subclass may rescale (MLERP)
        together = plan.merge(2 * x - 3 * y)
        _hold(torch.allclose(together, 2 * merged - 3 * plan.merge(y), atol=tolerance), "merge is linear", case)
    for backend in ("gather", "matmul"):
        other = plan.on(backend)
        same = torch.allclose(other.merge(x), merged, atol=tolerance, rtol=tolerance)
        _hold(same, "a plan is the same on every backend", f"{case}, {backend}, {dtype}")


def _check_clusters(case: _Case, plan: Plan) -> None:
    """Tokens of one slot get the same output."""
    if not hasattr(plan, "assign"):  # a soft plan has no clusters
        return
    y = torch.randn(plan.batch, plan.num_merged, CHANNELS, generator=torch.Generator().manual_seed(3))
    expected = y.gather(1, plan.assign[..., None].expand(-1, -1, CHANNELS))
    _hold(torch.equal(plan.unmerge(y), expected), "unmerge gives every token the output of its slot", case)


def _check_again(case: _Case, plan: Plan, x: Tensor) -> None:
    """Equal inputs give bit-identical plans, and tokens may have any dtype."""
    again = case.plan(x)
    value = case.tokens(seed=4)
    same = again is not None and torch.equal(again.merge(value), plan.merge(value))
    _hold(same, "equal inputs give bit-identical plans", case)
    for dtype in DTYPES[1:]:
        case.plan(x.to(dtype))


def _check_images(case: _Case, plan: Plan, x: Tensor) -> None:
    """An image is merged the same way in a batch and alone."""
    if case.method.batch_limit is not None and case.images > case.method.batch_limit:
        return
    value = case.tokens(seed=5)
    together = plan.unmerge(plan.merge(value))
    for image in range(case.images):
        rows = (case.rows.image() == image).nonzero()[:, 0]
        alone = case.plan(x[rows], rows=rows)
        same = alone is not None and torch.allclose(
            alone.unmerge(alone.merge(value[rows])), together[rows], atol=1e-4, rtol=1e-4
        )
        _hold(same, "images of a batch are independent", f"{case}, image {image}")


def _check_steps(case: _Case) -> None:
    """Steps of one generation share the memory of the site; the next generation starts with an empty one."""
    for _ in range(2):
        memory: dict[str, Any] = {}
        for step in range(4):
            due = case.method.due(step)
            _hold(due in (True, False), "due(step) is True or False", f"{case}, step {step}")
            if step == 0 or due:
                case.plan(case.tokens(seed=step), step=step, memory=memory)


def _check_ratio_zero(method: TokenMerger) -> None:
    """Ratio 0 is the identity, bit for bit."""
    try:
        method = _with_ratio(method, 0.0)
    except (TypeError, ValueError):  # no such field, or ratio 0 is not accepted
        return
    case = _Case(method, (8, 8), 2)
    plan, value = case.plan(case.tokens()), case.tokens(seed=6)
    same = plan is None or torch.equal(plan.unmerge(plan.merge(value)), value)
    _hold(same, "ratio 0 is the identity, bit for bit", case)


def _check_on_model(method: TokenMerger) -> None:
    """On a U-Net with one site: it merges if it says so, generations are equal, and the patch leaves no trace."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = UNet2DConditionModel(**UNET).eval()
    before = [dict(vars(module)) for module in model.modules()]
    with patched(model, method):
        first, second = (_denoise(model, 3) for _ in range(2))
        merged = _merged(model)
        if method.merges and not merged:  # a schedule may start late
            _denoise(model, _LONG)
            merged = _merged(model)
    name = type(method).__name__
    _hold(torch.equal(first, second), "a generation does not see the state of another", name)
    _hold(merged or not method.merges, "a method with merges=True merges", f"{name} on a 16 x 16 grid")
    _hold(before == [dict(vars(module)) for module in model.modules()], "remove_patch restores the model", name)


def _merged(model: torch.nn.Module) -> bool:
    return any(site["merged"] < site["tokens"] for site in report(model))


def _denoise(model: torch.nn.Module, steps: int) -> Tensor:
    """Latents of one image with guidance after `steps` steps."""
    set_seeds(model, [7])
    generator = torch.Generator().manual_seed(1)
    x, text = torch.randn(1, 4, 16, 16, generator=generator), torch.randn(2, 7, 32, generator=generator)
    with torch.no_grad():
        for timestep in torch.linspace(900, 100, steps):
            first, second = model(torch.cat([x, x]), timestep, encoder_hidden_states=text).sample.chunk(2)
            x = x - 0.1 * (first + 2 * (second - first))
    return x


def _hold(fact: bool, law: str, case: object) -> None:
    if not fact:
        raise AssertionError(f"violated: {law} ({case})")

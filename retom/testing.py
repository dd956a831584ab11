"""Checking a merging method of your own against the laws that every method must hold.

    retom.testing.check_method(MyMethod(ratio=0.5))

runs `plan` over grids, batches, dtypes, seeds, ratios and steps, and the method on a small U-Net. The laws are those of
docs/architecture.md. Use it in a test, as scikit-learn's `check_estimator`.
"""

import dataclasses
import inspect
import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from retom.dense import DensePlan
from retom.method import SiteContext, TokenMerger, check_merger
from retom.patch import patched, report, set_seeds
from retom.plan import MergePlan
from retom.plan_base import Plan
from retom.rows import Rows

GRIDS = ((1, 1), (3, 5), (8, 8), (6, 16))
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
RATIOS = (0.25, 0.5)
CHANNELS = 32
UNET = {  # of one site
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
_LONG = 60  # steps, more than a generation has as a rule
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.15, torch.float16: 0.02}


def check_method(method: TokenMerger) -> None:
    """Hold a method against every law; about a second on a CPU.

    Args:
        method: the method with its options. Where it has a field `ratio`, other ratios are tried as well.

    Raises:
        AssertionError: naming the law that is broken and the case in which it is.
        ValueError: for attributes that hooks cannot honour, or a plan that cannot be right.
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
    """A method on a grid with so many images in two branches of guidance."""

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
        """Of all rows, or of those given, which are all of one image."""
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
        """The method's plan, after what every plan must be was checked."""
        before, state = x.clone(), torch.get_rng_state()
        plan = self.method.plan(x, self.grid, self.context(**options))
        _hold(torch.equal(x, before), "plan changes none of its tokens", self)
        _hold(torch.equal(torch.get_rng_state(), state), "plan draws nothing from the global generator", self)
        if plan is None:
            return None
        _hold(isinstance(plan, Plan), "plan returns a retom.Plan or None", self)
        _hold((plan.batch, plan.num_tokens) == tuple(x.shape[:2]), "a plan is for the tokens it was made from", self)
        plan.check()
        return plan


def _variants(method: TokenMerger) -> Iterator[TokenMerger]:
    """The method as it is, and with other ratios where it has that field and takes them."""
    yield method
    if "ratio" in inspect.signature(type(method)).parameters:
        for ratio in RATIOS:
            try:
                yield _with_ratio(method, ratio)
            except ValueError:  # a ratio that this method cannot have
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
    """Merging is linear, keeps the dtype, and is the same on every backend."""
    x, y, tolerance = case.tokens(dtype, seed=1), case.tokens(dtype, seed=2), _TOLERANCE[dtype]
    merged = plan.merge(x)
    _hold(merged.shape == (plan.batch, plan.num_merged, CHANNELS), "merge gives [B, M, C]", case)
    _hold(merged.dtype == dtype and plan.unmerge(merged).dtype == dtype, "plans keep the dtype", f"{case}, {dtype}")
    _hold(plan.unmerge(merged).shape == x.shape, "unmerge gives [B, N, C]", case)
    if dtype == torch.float32 and type(plan) in (MergePlan, DensePlan):  # a subclass may rescale (MLERP)
        together = plan.merge(2 * x - 3 * y)
        _hold(torch.allclose(together, 2 * merged - 3 * plan.merge(y), atol=tolerance), "merge is linear", case)
    for backend in ("gather", "matmul"):
        other = plan.on(backend)
        same = torch.allclose(other.merge(x), merged, atol=tolerance, rtol=tolerance)
        _hold(same, "a plan is the same on every backend", f"{case}, {backend}, {dtype}")


def _check_clusters(case: _Case, plan: Plan) -> None:
    """Tokens of one slot get one output."""
    if not hasattr(plan, "assign"):  # a soft plan has no clusters
        return
    y = torch.randn(plan.batch, plan.num_merged, CHANNELS, generator=torch.Generator().manual_seed(3))
    expected = y.gather(1, plan.assign[..., None].expand(-1, -1, CHANNELS))
    _hold(torch.equal(plan.unmerge(y), expected), "unmerge gives every token the output of its slot", case)


def _check_again(case: _Case, plan: Plan, x: Tensor) -> None:
    """Same input, same bits, and in every dtype of the tokens."""
    again = case.plan(x)
    value = case.tokens(seed=4)
    same = again is not None and torch.equal(again.merge(value), plan.merge(value))
    _hold(same, "same input, same bits", case)
    for dtype in DTYPES[1:]:
        case.plan(x.to(dtype))


def _check_images(case: _Case, plan: Plan, x: Tensor) -> None:
    """An image of a batch is merged as it is alone."""
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
    """Steps of one generation, which share the site's memory, and those of the next, which begins without one."""
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
    except (TypeError, ValueError):  # no such field, or a ratio of 0 is refused
        return
    case = _Case(method, (8, 8), 2)
    plan, value = case.plan(case.tokens()), case.tokens(seed=6)
    same = plan is None or torch.equal(plan.unmerge(plan.merge(value)), value)
    _hold(same, "ratio 0 is the identity, bit for bit", case)


def _check_on_model(method: TokenMerger) -> None:
    """On a U-Net with one site: it merges where it says so, the next generation is as the first, nothing stays."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = UNet2DConditionModel(**UNET).eval()
    before = [dict(vars(module)) for module in model.modules()]
    with patched(model, method):
        first, second = (_denoise(model, 3) for _ in range(2))
        merged = _merged(model)
        if method.merges and not merged:  # a schedule may begin late
            _denoise(model, _LONG)
            merged = _merged(model)
    name = type(method).__name__
    _hold(torch.equal(first, second), "a generation never sees the state of another", name)
    _hold(merged or not method.merges, "a method that says it merges does so", f"{name} on a 16 x 16 grid")
    _hold(before == [dict(vars(module)) for module in model.modules()], "a patch comes off without a trace", name)


def _merged(model: torch.nn.Module) -> bool:
    return any(site["merged"] < site["tokens"] for site in report(model))


def _denoise(model: torch.nn.Module, steps: int) -> Tensor:
    """Latents of one image with guidance after so many steps."""
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
        raise AssertionError(f"{law}: not so for {case}")

"""`retom.testing.check_method` accepts a method that obeys the laws, and names the law that another one violates."""

import dataclasses
from dataclasses import dataclass

import pytest
import torch

import retom
from retom.plans.merge_plan import MergePlan
from retom.testing import check_method


@dataclass(frozen=True)
class Pairs(retom.TokenMerger):
    """Neighbours in pairs, a method of a dozen lines."""

    ratio: float = 0.5

    def plan(self, metric, grid, context):
        batch, tokens, _ = metric.shape
        removed = min(int(self.ratio * tokens), tokens // 2)
        slot = (torch.arange(tokens) // 2).where(torch.arange(tokens) < 2 * removed, torch.arange(tokens) - removed)
        kept = torch.cat([torch.arange(0, 2 * removed, 2), torch.arange(2 * removed, tokens)])
        return MergePlan.from_clusters(slot.expand(batch, -1), None, kept.expand(batch, -1))


class Global(Pairs):
    def plan(self, metric, grid, context):
        torch.rand(1)
        return super().plan(metric, grid, context)


class InPlace(Pairs):
    def plan(self, metric, grid, context):
        metric.mul_(2)
        return super().plan(metric, grid, context)


class Unrepeatable(Pairs):
    """Its pairs depend on how often it was called."""

    def plan(self, metric, grid, context):
        plan = super().plan(metric, grid, context)
        object.__setattr__(self, "calls", getattr(self, "calls", 0) + 1)
        return plan if self.calls % 2 else MergePlan.identity(*metric.shape[:2])


class Neighbours(Pairs):
    """Depends on the complete batch: merges the last half if its mean is positive."""

    def plan(self, metric, grid, context):
        if metric.float().mean() > 0 or metric.shape[1] < 4:
            return super().plan(metric, grid, context)
        return MergePlan.identity(*metric.shape[:2])


class Stateful(Pairs):
    """Stores its plan on itself: the next generation gets that of the last one."""

    def plan(self, metric, grid, context):
        kept = vars(self).setdefault("kept", {})
        key = (tuple(metric.shape), tuple(context.seeds.tolist()))
        if key not in kept:
            similar = metric.float().norm(dim=2).argsort(dim=1)
            slot = torch.empty_like(similar).scatter_(1, similar, torch.arange(metric.shape[1]).expand_as(similar) // 2)
            first = similar[:, ::2]
            kept[key] = MergePlan.from_clusters(slot, None, first) if metric.shape[1] > 1 else None
        return kept[key]


class NeverZero(Pairs):
    def plan(self, metric, grid, context):
        return dataclasses.replace(Pairs(ratio=0.5)).plan(metric, grid, context)


class Scaled(MergePlan):
    """Unmerges twice the values of its slots."""

    def unmerge(self, y):
        return 2 * super().unmerge(y)


class Doubling(Pairs):
    def plan(self, metric, grid, context):
        plan = super().plan(metric, grid, context)
        return Scaled(*plan.parts())


class Idle(Pairs):
    """Reports that it merges, and never does."""

    def plan(self, metric, grid, context):
        return None


class Tensors(Pairs):
    def plan(self, metric, grid, context):
        return metric


BROKEN = {
    Global: "plan does not use the global random generator",
    InPlace: "plan does not change its tokens",
    Unrepeatable: "equal inputs give bit-identical plans",
    Neighbours: "images of a batch are independent",
    NeverZero: "ratio 0 is the identity, bit for bit",
    Doubling: "unmerge gives every token the output of its slot|a plan is the same on every backend",
    Idle: "a method with merges=True merges",
    Tensors: "plan returns a retom.Plan or None",
    Stateful: "a generation does not see|images of a batch are independent",
}


@pytest.mark.parametrize("method", [Pairs(), Pairs(ratio=0.25), retom.ReToM(), retom.ReToM(ratio=0.0)])
def test_a_method_that_holds_the_laws_passes(method):
    check_method(method)


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_law_is_named_with_its_case(kind):
    with pytest.raises(AssertionError, match=BROKEN[kind]):
        check_method(kind())


def test_what_is_no_frozen_dataclass_is_refused():
    @dataclass
    class Loose(retom.TokenMerger):
        ratio: float = 0.5

        def plan(self, metric, grid, context):
            return None

    with pytest.raises(AssertionError, match=r"a method is a frozen dataclass \(Loose\)"):
        check_method(Loose())
    with pytest.raises(ValueError, match=r"method must be a retom\.TokenMerger, got str"):
        check_method("retom")


def test_a_plan_that_cannot_be_right_is_refused_with_its_reason():
    class Empty(Pairs):
        def plan(self, metric, grid, context):
            plan = super().plan(metric, grid, context)
            object.__setattr__(plan, "dst_index", torch.zeros_like(plan.dst_index))
            return plan

    with pytest.raises(ValueError, match="dst_index must have a token of each slot"):
        check_method(Empty())

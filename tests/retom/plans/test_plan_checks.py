"""An invalid plan is rejected when it is made, or when a model first uses it."""

from dataclasses import dataclass

import pytest
import torch
from diffusers import UNet2DConditionModel

import retom
from retom.plans.dense import DensePlan
from retom.plans.merge_plan import MergePlan
from tests.retom.tiny_unet import TINY

ASSIGN = torch.tensor([[0, 0, 1, 1], [0, 1, 1, 1]])
DST = torch.tensor([[0, 2], [0, 1]])
WEIGHT = torch.full((2, 4), 0.5)


def changed(tensor, row, place, value):
    other = tensor.clone()
    other[row, place] = value
    return other


BAD = {
    "a slot out of range": ((changed(ASSIGN, 1, 3, 2), WEIGHT, DST), r"assign must be in \[0, 2\), got 2 at \[1, 3\]"),
    "a negative slot": ((changed(ASSIGN, 0, 0, -1), WEIGHT, DST), r"assign must be in \[0, 2\), got -1 at \[0, 0\]"),
    "an unused slot": ((torch.zeros_like(ASSIGN), WEIGHT, DST), r"slot 1 of row 0 has none in assign"),
    "a destination elsewhere": (
        (ASSIGN, WEIGHT, changed(DST, 1, 1, 0)),
        r"token 0 of row 1, given for slot 1, is in slot 0",
    ),
    "a destination out of range": ((ASSIGN, WEIGHT, changed(DST, 0, 1, 4)), r"dst_index must be in \[0, 4\), got 4"),
    "a weight that is no number": ((ASSIGN, WEIGHT * float("nan"), DST), "weight must be finite"),
    "int32": ((ASSIGN.int(), WEIGHT, DST), r"assign must be \[B, N\] of torch.int64, got \[2, 4\] of torch.int32"),
    "int32 destinations": (
        (ASSIGN, WEIGHT, DST.int()),
        r"dst_index must be \[B, M\] of torch.int64, got .* torch.int32",
    ),
    "half weights": ((ASSIGN, WEIGHT.half(), DST), r"weight must be \[B, N\] of torch.float32, got .* torch.float16"),
    "weights of another shape": ((ASSIGN, WEIGHT[:, :3], DST), r"weight must be \[2, 4\], got \[2, 3\]"),
    "one row of three dimensions": ((ASSIGN[None], WEIGHT, DST), r"assign must be \[B, N\] .*, got \[1, 2, 4\]"),
    "a list": ((ASSIGN.tolist(), WEIGHT, DST), r"assign must be a tensor \[B, N\] of torch.int64, got list"),
    "destinations of another batch": ((ASSIGN, WEIGHT, DST[:1]), r"dst_index must be \[2, 2\], got \[1, 2\]"),
    "more slots than tokens": (
        (ASSIGN, WEIGHT, torch.zeros(2, 5, dtype=torch.int64)),
        r"num_merged must be .* \[1, 4\]",
    ),
    "no slot": ((ASSIGN, WEIGHT, torch.zeros(2, 0, dtype=torch.int64)), r"num_merged must be .* \[1, 4\].*, got 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_right_is_refused_when_it_is_made(case):
    (assign, weight, dst_index), message = BAD[case]
    with pytest.raises(ValueError, match=message):
        MergePlan.from_clusters(assign, weight, dst_index)
    with pytest.raises(ValueError, match=message):
        MergePlan(assign, weight, dst_index.shape[1], dst_index)


def test_as_many_slots_as_tokens_must_each_have_one():
    every = torch.arange(4).expand(1, 4)
    assert MergePlan.from_clusters(every, None, every).is_identity
    with pytest.raises(ValueError, match="slot 1 of row 0 has none"):
        MergePlan.from_clusters(torch.tensor([[0, 0, 2, 3]]), None, every)


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (torch.tensor([[0, 1, 2, 2], [0, 1, 2, 3]]), "order must contain each of the 4 tokens once"),
        (torch.tensor([[2, 3, 0, 1], [0, 1, 2, 3]]), "order must list the tokens slot by slot"),
    ],
)
def test_an_order_that_is_none_is_refused(order, message):
    assert (
        MergePlan.from_clusters(ASSIGN, WEIGHT, DST, order=torch.tensor([[1, 0, 3, 2], [0, 3, 1, 2]])).num_merged == 2
    )
    with pytest.raises(ValueError, match=message):
        MergePlan.from_clusters(ASSIGN, WEIGHT, DST, order=order)


def test_num_merged_must_be_a_plain_integer():
    with pytest.raises(ValueError, match=r"num_merged must be an integer in \[1, 4\].*, got tensor\(2\)"):
        MergePlan(ASSIGN, WEIGHT, torch.tensor(2), DST)


def test_a_dense_plan_is_refused_for_its_contents():
    merge = torch.full((1, 2, 4), 0.25)
    good = DensePlan.whole(merge, merge.mT, torch.tensor([[0, 3]]))
    good.check()
    with pytest.raises(ValueError, match=r"dst_index must be in \[0, 4\), got 0 to 4"):
        DensePlan.whole(merge, merge.mT, torch.tensor([[0, 4]])).check()
    with pytest.raises(ValueError, match="blocks must be finite"):
        DensePlan.whole(merge * float("inf"), merge.mT, torch.tensor([[0, 3]])).check()


@pytest.mark.parametrize("shape", [(2, 64), (2, 4096)])
def test_a_plan_is_shown_in_one_line(shape):
    plan = retom.merge_plan(torch.randn(*shape, 8), (shape[1] // 8, 8), window=2, ratio=0.5)
    assert repr(plan) == f"MergePlan({shape[0]} x {shape[1]} tokens -> {shape[1] // 2} slots, cpu)"
    assert len(repr(DensePlan.whole(torch.ones(1, 2, 4), torch.ones(1, 4, 2), torch.tensor([[0, 3]])))) < 80


@dataclass(frozen=True)
class Returns(retom.TokenMerger):
    """Returns a prepared plan for the given tokens."""

    made: object

    def plan(self, metric, grid, context):
        return self.made(metric)


def unchecked(plan: MergePlan, **fields) -> MergePlan:
    """A plan with unchecked contents, like one made on a GPU."""
    for name, value in fields.items():
        object.__setattr__(plan, name, value)
    return plan


def halves(metric):
    batch, tokens, _ = metric.shape
    assign = (torch.arange(tokens) // 2).expand(batch, -1)
    return MergePlan.from_clusters(assign, None, torch.arange(0, tokens, 2).expand(batch, -1))


WRONG = {
    "a tensor": (lambda x: torch.zeros(2, 4), "must be a retom.Plan .* or None, got Tensor"),
    "another batch": (lambda x: halves(x[:1]), r"must be for \[B, N\] = \[2, 256\] tokens, got one for \[1, 256\]"),
    "another grid": (lambda x: halves(x[:, :64]), r"must be for \[B, N\] = \[2, 256\] tokens, got one for \[2, 64\]"),
    "an unused slot": (
        lambda x: unchecked(halves(x), assign=torch.zeros(2, 256, dtype=torch.int64)),
        "is invalid: every slot must have a token, but slot 1 of row 0 has none",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_model_refuses_a_plan_that_is_not_of_its_tokens(case):
    made, message = WRONG[case]
    unet = UNet2DConditionModel(**TINY).eval()
    with (
        retom.patched(unet, Returns(made)),
        pytest.raises(ValueError, match=f"the plan of Returns at down_blocks.0.attentions.0.* {message}"),
    ):
        unet(torch.randn(2, 4, 16, 16), 500, encoder_hidden_states=torch.randn(2, 7, 32))


def test_contents_are_looked_at_once_for_each_site(monkeypatch):
    looked = []
    monkeypatch.setattr(MergePlan, "check", lambda plan: looked.append(plan.num_tokens))
    unet = UNet2DConditionModel(**TINY).eval()
    with retom.patched(unet, ratio=0.5, period=1), torch.no_grad():
        for timestep in torch.linspace(900, 100, 4):
            unet(torch.randn(2, 4, 16, 16), timestep, encoder_hidden_states=torch.randn(2, 7, 32))
        sites = len(retom.report(unet))
    assert len(looked) == sites

"""Dense plans: the laws of a plan that they obey, and their blocks against full matrices."""

import pytest
import torch

from retom import MergePlan, merge_plan
from retom.plans.dense import DensePlan


def matrices(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def blocked(batch: int = 2) -> DensePlan:
    """Two windows of 6 tokens on 3 slots and one of 4 on 2, with tokens spread over 16."""
    order = torch.randperm(16, generator=torch.Generator().manual_seed(5))
    pairs = [(matrices(batch, t, m, n), matrices(batch, t, n, m, seed=1)) for t, m, n in ((2, 3, 6), (1, 2, 4))]
    return DensePlan(tuple(pairs), torch.zeros(batch, 8, dtype=torch.int64), order)


def test_blocks_equal_the_full_matrices():
    plan, x, y = blocked(), matrices(2, 16, 5), matrices(2, 8, 5)
    for image in range(2):
        merge, unmerge, row, column = torch.zeros(8, 16), torch.zeros(16, 8), 0, 0
        for left, right in plan.blocks:
            for window in range(left.shape[1]):
                m, n = left.shape[2:]
                tokens = plan.order[column : column + n]
                merge[row : row + m, tokens] = left[image, window]
                unmerge[tokens, row : row + m] = right[image, window]
                row, column = row + m, column + n
        torch.testing.assert_close(plan.merge(x)[image], merge @ x[image])
        torch.testing.assert_close(plan.unmerge(y)[image], unmerge @ y[image])


def test_merge_and_unmerge_are_linear_and_keep_images_apart():
    plan, x, other = blocked(), matrices(2, 16, 5), matrices(2, 16, 5, seed=9)
    for part, rows in ((plan.merge, 16), (plan.unmerge, 8)):
        left, right = x[:, :rows], other[:, :rows]
        torch.testing.assert_close(part(2 * left - 3 * right), 2 * part(left) - 3 * part(right), atol=1e-4, rtol=1e-4)
        mixed = torch.stack([left[0], right[1]])
        assert torch.equal(part(mixed)[0], part(left)[0])
        assert not torch.equal(part(mixed)[1], part(left)[1])


def test_a_merge_plan_written_out_is_the_same_plan():
    x = matrices(2, 16, 5)
    hard = merge_plan(x, (4, 4), window=2, ratio=0.5)
    merge = torch.zeros(2, 8, 16).scatter_(1, hard.assign[:, None], hard.weight[:, None])
    unmerge = torch.zeros(2, 16, 8).scatter_(2, hard.assign[..., None], 1.0)
    plan = DensePlan.whole(merge, unmerge, hard.dst_index)
    assert (plan.num_merged, plan.num_tokens) == (8, 16)
    torch.testing.assert_close(plan.merge(x), hard.merge(x))
    torch.testing.assert_close(plan.unmerge(plan.merge(x)), hard.unmerge(hard.merge(x)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_dtype_stays(dtype):
    plan, x = blocked(), matrices(2, 16, 5).to(dtype)
    assert plan.merge(x).dtype == plan.unmerge(plan.merge(x)).dtype == dtype
    torch.testing.assert_close(plan.merge(x).float(), plan.merge(x.float()), atol=0.1, rtol=0.05)


def test_as_many_slots_as_tokens_pass_bit_for_bit():
    x = matrices(2, 6, 5)
    plan = DensePlan.whole(matrices(2, 6, 6), matrices(2, 6, 6), torch.arange(6).expand(2, -1))
    assert plan.is_identity
    assert torch.equal(plan.merge(x), x)
    assert torch.equal(plan.unmerge(x), x)


def test_it_is_rebuilt_from_its_parts_and_is_itself_on_every_backend():
    plan, x = blocked(), matrices(2, 16, 5)
    again = type(plan)(*plan.parts())
    assert torch.equal(again.unmerge(again.merge(x)), plan.unmerge(plan.merge(x)))
    assert plan.on("gather") is plan.on("matmul") is plan
    with pytest.raises(ValueError, match="did you mean 'gather'"):
        plan.on("gahter")
    assert {name for name in dir(MergePlan) if not name.startswith("_")} - set(dir(plan)) == {
        *("from_clusters", "identity", "mean", "backend", "prepared", "starts")
    }


def test_shapes_that_do_not_fit_are_refused():
    plan = blocked()
    with pytest.raises(ValueError, match=r"shape \[2, 16, C\], got \[2, 15, 5\]"):
        plan.merge(torch.zeros(2, 15, 5))
    with pytest.raises(ValueError, match=r"shape \[2, 8, C\]"):
        plan.unmerge(torch.zeros(2, 16, 5))
    with pytest.raises(ValueError, match="blocks must be pairs"):
        DensePlan.whole(torch.zeros(2, 3, 4), torch.zeros(2, 3, 4), torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"dst_index must be \[B, 3\]"):
        DensePlan.whole(torch.zeros(2, 3, 4), torch.zeros(2, 4, 3), torch.zeros(2, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"dst_index must be a tensor of torch.int64, got torch.float32"):
        DensePlan.whole(torch.zeros(2, 3, 4), torch.zeros(2, 4, 3), torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"order must be \[16\]"):
        DensePlan(plan.blocks, plan.dst_index, torch.arange(15))

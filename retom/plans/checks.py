"""Checks of plans: shapes and dtypes whenever a plan is made, contents on the host.

Contents are not read from a GPU at every step. `MergePlan.check` reads them once for each site of a patched model, and
in `retom.testing`.
"""

from typing import Any

import torch
from torch import Tensor

from retom.plans.base import Plan


def check_fields(assign: Any, weight: Any, num_merged: Any, dst_index: Any) -> None:
    """ValueError if type, dtype, shape or device of a tensor of a plan is wrong."""
    _check_tensor("assign", assign, torch.int64, "[B, N]")
    _check_tensor("dst_index", dst_index, torch.int64, "[B, M]")
    batch, tokens = assign.shape
    if type(num_merged) is not int or not 1 <= num_merged <= tokens:
        raise ValueError(f"num_merged must be an integer in [1, {tokens}], the number of tokens, got {num_merged!r}")
    _check_shape("dst_index", dst_index, (batch, num_merged))
    if weight is not None:
        _check_tensor("weight", weight, torch.float32, "[B, N]")
        _check_shape("weight", weight, (batch, tokens))
    for name, tensor in (("weight", weight), ("dst_index", dst_index)):
        if tensor is not None and tensor.device != assign.device:
            raise ValueError(f"{name} must be on the device of assign, {assign.device}, got {tensor.device}")


def check_returned(plan: Any, tokens: Tensor, method: object, place: str) -> None:
    """ValueError unless what a method returned for tokens [B, N, C] is a plan for them. Contents are not read.

    place: where it planned, read for a message only: `torch.compile` makes a graph for every name that it read.
    """
    if not isinstance(plan, Plan):
        kind = type(plan).__name__
        raise refused(method, place, f"must be a retom.Plan (such as MergePlan) or None, got {kind}")
    found, wanted = (plan.batch, plan.num_tokens), tuple(tokens.shape[:2])
    if found != wanted:
        raise refused(method, place, f"must be for [B, N] = {list(wanted)} tokens, got one for {list(found)}")


def refused(method: object, place: str, why: str) -> ValueError:
    """The error for a plan that a method returned."""
    return ValueError(f"the plan of {type(method).__name__} at {place} {why}")


def check_contents(assign: Tensor, weight: Tensor | None, dst_index: Tensor, order: Tensor | None) -> None:
    """ValueError if the contents of a plan are invalid. They are copied to the host.

    Slots are in [0, M) and each has a token; a destination is a token of its slot; weights are finite; `order` contains
    every token once, slot by slot.
    """
    assign, dst_index = assign.cpu(), dst_index.cpu()
    tokens, slots = assign.shape[1], dst_index.shape[1]
    _check_range("assign", assign, slots)
    _check_range("dst_index", dst_index, tokens)
    used = torch.zeros_like(dst_index).scatter_add_(1, assign, torch.ones_like(assign))
    if (empty := (used == 0).nonzero()).numel():
        row, slot = empty[0].tolist()
        raise ValueError(f"every slot must have a token, but slot {slot} of row {row} has none in assign")
    if (wrong := (assign.gather(1, dst_index) != torch.arange(slots)).nonzero()).numel():
        row, slot = wrong[0].tolist()
        token = int(dst_index[row, slot])
        raise ValueError(
            f"dst_index must have a token of each slot, but token {token} of row {row}, given for slot {slot}, is in "
            f"slot {int(assign[row, token])}"
        )
    if weight is not None and not weight.isfinite().all():
        raise ValueError("weight must be finite, got nan or inf")
    if order is not None:
        _check_order(order.cpu(), assign)


def _check_order(order: Tensor, assign: Tensor) -> None:
    every = torch.arange(assign.shape[1]).expand_as(assign)
    if order.shape != assign.shape or not torch.equal(order.sort(dim=1).values, every):
        raise ValueError(f"order must contain each of the {assign.shape[1]} tokens once in every row")
    if (assign.gather(1, order).diff(dim=1) < 0).any():
        raise ValueError("order must list the tokens slot by slot, from slot 0 on")


def _check_range(name: str, index: Tensor, end: int) -> None:
    outside = (index < 0) | (index >= end)
    if outside.any():
        row, place = outside.nonzero()[0].tolist()
        raise ValueError(f"{name} must be in [0, {end}), got {int(index[row, place])} at [{row}, {place}]")


def _check_tensor(name: str, value: Any, dtype: torch.dtype, shape: str) -> None:
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} must be a tensor {shape} of {dtype}, got {type(value).__name__}")
    if value.dtype != dtype or value.ndim != 2:
        raise ValueError(f"{name} must be {shape} of {dtype}, got {list(value.shape)} of {value.dtype}")


def _check_shape(name: str, tensor: Tensor, shape: tuple[int, int]) -> None:
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} must be {list(shape)}, got {list(tensor.shape)}")


def is_real(tensor: Any) -> bool:
    """Whether a tensor has readable values: it is not fake, and no graph is being traced."""
    plain = isinstance(tensor, Tensor) and type(tensor) in (Tensor, torch.nn.Parameter)
    return plain and not tensor.is_meta and not torch.compiler.is_compiling()


def is_readable(tensor: Any) -> bool:
    """Whether the values of a tensor can be read without waiting for a device."""
    return is_real(tensor) and tensor.device.type == "cpu"

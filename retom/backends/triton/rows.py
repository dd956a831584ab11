"""Kernels that move rows: merge sums the tokens of a slot, unmerge gives every token the row of its slot.

A program has a tile of SLOTS (or TOKENS) rows and CHANNELS channels. Every output is written once, by one program, and
its terms are added in the order of the plan.
"""

import triton
import triton.language as tl


@triton.jit
def _weighted(x, order, weight, entry, mask, channel, in_row, token_stride, channel_stride, MEAN: tl.constexpr):
    """Rows of the tokens at positions `entry` [R] of `order`, times their weights, float32 [R, C]."""
    token = tl.load(order + entry, mask=mask, other=0)
    pointers = x + token[:, None] * token_stride + channel[None, :] * channel_stride
    row = tl.load(pointers, mask=mask[:, None] & in_row[None, :], other=0.0).to(tl.float32)
    return row if MEAN else row * tl.load(weight + token, mask=mask, other=0.0)[:, None]


@triton.jit
def merge_rows(
    x, order, starts, weight, out, image_stride, token_stride, channel_stride, order_stride, starts_stride,
    weight_stride, num_tokens, num_merged, channels,
    SLOTS: tl.constexpr, CHANNELS: tl.constexpr, SHORT: tl.constexpr, LONG: tl.constexpr, MEAN: tl.constexpr,
):  # fmt: skip
    """Weighted sum (or mean) of each slot's tokens.

    The first SHORT tokens of all slots of the tile are read together, which covers small windows. The rest of a long
    slot is read LONG tokens at a time, so that its tokens are not read one by one.
    """
    image = tl.program_id(2).to(tl.int64)
    x += image * image_stride
    order += image * order_stride
    starts += image * starts_stride
    weight += image * weight_stride
    first = tl.program_id(0) * SLOTS
    slot = first + tl.arange(0, SLOTS)
    channel = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)).to(tl.int64)
    in_row = channel < channels
    here = slot < num_merged
    begin = tl.load(starts + slot, mask=here, other=0)
    end = tl.load(starts + slot + 1, mask=slot + 1 < num_merged, other=num_tokens)
    length = tl.where(here, end - begin, 0)
    total = tl.zeros([SLOTS, CHANNELS], tl.float32)
    for place in tl.static_range(SHORT):
        total += _weighted(
            x, order, weight, begin + place, place < length, channel, in_row, token_stride, channel_stride, MEAN
        )
    if tl.max(length, 0) > SHORT:
        for row in range(tl.minimum(SLOTS, num_merged - first)):
            mine = tl.arange(0, SLOTS) == row
            stop = tl.load(starts + first + row + 1, mask=first + row + 1 < num_merged, other=num_tokens)
            for entry in range(tl.load(starts + first + row) + SHORT, stop, LONG):
                entries = entry + tl.arange(0, LONG)
                part = _weighted(
                    x, order, weight, entries, entries < stop, channel, in_row, token_stride, channel_stride, MEAN
                )
                total += tl.where(mine[:, None], tl.sum(part, 0)[None, :], 0.0)
    if MEAN:
        total = total / tl.maximum(length, 1).to(tl.float32)[:, None]
    pointers = out + (image * num_merged + slot)[:, None] * channels + channel[None, :]
    tl.store(pointers, total.to(out.dtype.element_ty), mask=here[:, None] & in_row[None, :])


@triton.jit
def unmerge_rows(
    y, assign, out, image_stride, slot_stride, channel_stride, assign_stride, num_tokens, channels,
    TOKENS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Copy to every token the row of its slot."""
    image = tl.program_id(2).to(tl.int64)
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    channel = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)).to(tl.int64)
    here = token < num_tokens
    mask = here[:, None] & (channel < channels)[None, :]
    slot = tl.load(assign + image * assign_stride + token, mask=here, other=0)
    pointers = y + image * image_stride + slot[:, None] * slot_stride + channel[None, :] * channel_stride
    row = tl.load(pointers, mask=mask)
    tl.store(out + (image * num_tokens + token)[:, None] * channels + channel[None, :], row, mask=mask)

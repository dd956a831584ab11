"""Kernels that plan windows too large for the registers of one program: one scores tokens, one ranks them.

They exchange `inverse` and `scores` [B, N] by position in `order`, `sums` [B, windows, C] and `firsts` [B, windows].
"""

import triton
import triton.language as tl

from retom.backends.triton.planning import (
    _choose,
    _draw,
    _inverse_norms,
    _load,
    _locate,
    _mean_key,
    _rank,
    _similarity_to,
    _token,
    _write,
)


@triton.jit
def _extreme(scores, size, TOKENS: tl.constexpr, DESTINATION: tl.constexpr):
    """The first position of the highest or lowest score of a window, [1]; scores points to its keys."""
    sign = 1.0 if DESTINATION == 0 else -1.0
    best = tl.full([1], float("-inf"), tl.float32)
    first = tl.zeros([1], tl.int32)
    for begin in range(0, size, TOKENS):
        place = begin + tl.arange(0, TOKENS)[None, :]
        key = tl.load(scores + place, mask=place < size, other=0.0) * sign
        key = tl.where(place < size, key, float("-inf"))
        value = tl.max(key, 1)
        first = tl.where(value > best, begin + tl.argmax(key, 1), first)
        best = tl.maximum(best, value)
    return first


@triton.jit
def _store_inverse_norms(
    x, inverse, sums, top, left, wide, width, size, token_stride, channel_stride, channels,
    TOKENS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Write the inverse norms of a window's tokens and then the sum of its unit tokens."""
    for begin in range(0, tl.max(size, 0), TOKENS):
        place = begin + tl.arange(0, TOKENS)[None, :]
        mask = place < size[:, None]
        rows = x + _token(place, top, left, wide, width) * token_stride
        tl.store(inverse + place, _inverse_norms(rows, mask, channels, channel_stride, CHANNELS), mask=mask)
    tl.debug_barrier()
    for first in range(0, channels, CHANNELS):
        total = tl.zeros([1, CHANNELS], tl.float32)
        for begin in range(0, tl.max(size, 0), TOKENS):
            place = begin + tl.arange(0, TOKENS)[None, :]
            mask = place < size[:, None]
            rows = x + _token(place, top, left, wide, width) * token_stride
            scale = tl.load(inverse + place, mask=mask, other=0.0)
            total += tl.sum(_load(rows, mask, first, channels, channel_stride, CHANNELS) * scale[:, :, None], 1)
        channel = first + tl.arange(0, CHANNELS)[None, :]
        tl.store(sums + channel, total, mask=channel < channels)
    tl.debug_barrier()


@triton.jit(do_not_specialize=["step", "layer"])
def score_windows(
    x, inverse, sums, scores, firsts, seeds, image_stride, token_stride, channel_stride,
    num_tokens, num_windows, channels, height, width, step, layer,
    TALL: tl.constexpr, WIDE: tl.constexpr, TOKENS: tl.constexpr, CHANNELS: tl.constexpr,
    DESTINATION: tl.constexpr, BY_DESTINATION: tl.constexpr,
):  # fmt: skip
    """Score the tokens of one window of any size and choose its destination."""
    image = tl.program_id(1).to(tl.int64)
    number = tl.program_id(0) + tl.arange(0, 1)
    _, _, top, left, tall, wide, entry = _locate(number, height, width, TALL, WIDE)
    size = tall * wide
    x += image * image_stride
    begin_of_window = image * num_tokens + tl.max(entry, 0)
    inverse += begin_of_window
    scores += begin_of_window
    sums += (image * num_windows + tl.program_id(0)) * channels
    _store_inverse_norms(
        x, inverse, sums, top, left, wide, width, size, token_stride, channel_stride, channels, TOKENS, CHANNELS
    )
    for begin in range(0, tl.max(size, 0), TOKENS):
        place = begin + tl.arange(0, TOKENS)[None, :]
        mask = place < size[:, None]
        rows = x + _token(place, top, left, wide, width) * token_stride
        dot = tl.zeros(rows.shape, tl.float32)
        for channel in range(0, channels, CHANNELS):
            total = _load(sums + tl.zeros([1, 1], tl.int64), size[:, None] > 0, channel, channels, 1, CHANNELS)
            dot += tl.sum(_load(rows, mask, channel, channels, channel_stride, CHANNELS) * total, 2)
        scale = tl.load(inverse + place, mask=mask, other=0.0)
        tl.store(scores + place, _mean_key(dot * scale, scale, mask, size), mask=mask)
    tl.debug_barrier()
    if DESTINATION == 2:
        first = _draw(seeds, image, step, layer, number, size)
    else:
        first = _extreme(scores, tl.max(size, 0), TOKENS, DESTINATION)
    tl.store(firsts + image * num_windows + number, first)
    if BY_DESTINATION:
        # Every thread has read the scores before they are overwritten.
        tl.debug_barrier()
        chosen = x + _token(first[:, None], top, left, wide, width) * token_stride
        own = tl.load(inverse + first)
        for begin in range(0, tl.max(size, 0), TOKENS):
            place = begin + tl.arange(0, TOKENS)[None, :]
            mask = place < size[:, None]
            rows = x + _token(place, top, left, wide, width) * token_stride
            scale = tl.load(inverse + place, mask=mask, other=0.0)
            key = _similarity_to(rows, mask, scale, chosen, size, own, channels, channel_stride, CHANNELS)
            tl.store(scores + place, key, mask=mask)


@triton.jit
def rank_windows(
    scores, firsts, order, assign, weight, starts, dst_index, num_tokens, num_merged, num_windows, height, width,
    removed_0, removed_1, removed_2, removed_3, slot_1, slot_2, slot_3, share_0, share_1, share_2, share_3, alpha,
    TALL: tl.constexpr, WIDE: tl.constexpr, TOKENS: tl.constexpr,
):  # fmt: skip
    """Rank TOKENS tokens of one window against all of it, and write their part of the plan."""
    image = tl.program_id(2).to(tl.int64)
    number = tl.program_id(0) + tl.arange(0, 1)
    kind, local, top, left, tall, wide, entry = _locate(number, height, width, TALL, WIDE)
    size = tall * wide
    place = tl.program_id(1) * TOKENS + tl.arange(0, TOKENS)[None, :]
    mask = place < size[:, None]
    stored = scores + image * num_tokens + entry
    key = tl.load(stored[:, None] + place, mask=mask, other=float("-inf"))
    first = tl.load(firsts + image * num_windows + number)
    rank = _rank(key, place, first, size, stored, TOKENS, True)
    token = _token(place, top, left, wide, width)
    removed = _choose(kind, removed_0, removed_1, removed_2, removed_3)
    share = _choose(kind, share_0, share_1, share_2, share_3)
    slot = _choose(kind, 0, slot_1, slot_2, slot_3) + local * (size - removed)
    _write(
        order, assign, weight, starts, dst_index, image, num_tokens, num_merged, token, rank, mask, entry, slot,
        removed, share, alpha,
    )  # fmt: skip

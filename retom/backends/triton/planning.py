"""Kernels that plan a merge: one program per image and group of windows (arXiv 2507.12771, Eq. 1 and Algorithm 1).

Windows are numbered as in `retom.plans.windows.tile`: inside, right edge, bottom edge, corner. In the shapes below, G
is the number of windows of a program, T the number of tokens of a window (padded to a power of two; larger windows
are read in blocks of T) and C a block of channels. Similarities are computed in float32 from unit tokens u, as u_i.s
with the sum s of the window, so the cost is linear in the tokens of a window. Ranks are counted, not sorted. There
are no atomics.
"""

import triton
import triton.language as tl

# The constants of splitmix64, as in retom/rng.py.
_GAMMA = tl.constexpr(0x9E3779B97F4A7C15)
_FIRST = tl.constexpr(0xBF58476D1CE4E5B9)
_SECOND = tl.constexpr(0x94D049BB133111EB)
_EPS = tl.constexpr(1e-12)
# Tokens whose scores are compared at a time if the scores of a window do not fit into registers.
_COMPARED = tl.constexpr(32)


@triton.jit
def _choose(kind, inside, right, bottom, corner):
    return tl.where(kind == 0, inside, tl.where(kind == 1, right, tl.where(kind == 2, bottom, corner)))


@triton.jit
def _locate(number, height, width, TALL: tl.constexpr, WIDE: tl.constexpr):
    """Of windows `number` [G]: kind (0 inside to 3 corner), number within the kind, top, left, tall, wide, entry."""
    rows, columns = height // TALL, width // WIDE
    low, thin = height - rows * TALL, width - columns * WIDE
    right = rows * columns
    bottom = right + tl.where(thin > 0, rows, 0)
    corner = bottom + tl.where(low > 0, columns, 0)
    kind = (number >= right).to(tl.int32) + (number >= bottom) + (number >= corner)
    local = number - _choose(kind, 0, right, bottom, corner)
    top = _choose(kind, local // columns, local, rows, rows) * TALL
    left = _choose(kind, local % columns, columns, local, columns) * WIDE
    tall = tl.where(kind < 2, TALL, low)
    wide = tl.where(kind % 2 == 0, WIDE, thin)
    # The first position in `order` of each kind; a kind that the grid does not have takes no space.
    upper = rows * TALL
    first = _choose(kind, 0, upper * columns * WIDE, upper * width, upper * width + low * columns * WIDE)
    return kind, local, top, left, tall, wide, first + local * tall * wide


@triton.jit
def _token(place, top, left, wide, width):
    """Row-major token numbers [G, T] of positions in the windows; a window that does not exist may have width 0."""
    wide = tl.maximum(wide, 1)[:, None]
    return ((top[:, None] + place // wide) * width + left[:, None] + place % wide).to(tl.int64)


@triton.jit
def _load(rows, mask, first_channel, channels, channel_stride, CHANNELS: tl.constexpr):
    """Channels of the rows [G, T] of pointers as float32 [G, T, C], zeros outside the mask."""
    channel = first_channel + tl.arange(0, CHANNELS)
    pointers = rows[:, :, None] + channel.to(tl.int64)[None, None, :] * channel_stride
    return tl.load(pointers, mask=mask[:, :, None] & (channel < channels)[None, None, :], other=0.0).to(tl.float32)


@triton.jit
def _inverse_norms(rows, mask, channels, channel_stride, CHANNELS: tl.constexpr):
    """1 / |x_i|, or 0 for a token of norm 0, [G, T]."""
    square = tl.zeros(rows.shape, tl.float32)
    for first in range(0, channels, CHANNELS):
        value = _load(rows, mask, first, channels, channel_stride, CHANNELS)
        square += tl.sum(value * value, 2)
    norm = tl.sqrt(square)
    return tl.where(norm > _EPS, 1.0 / tl.where(norm > _EPS, norm, 1.0), 0.0)


@triton.jit
def _key(score, mask, size):
    """Keys to compare: without NaN, which would leave ranks unused, and equal for two tokens despite rounding."""
    score = tl.where(score == score, score, float("inf"))
    return tl.where(mask, tl.where(size[:, None] == 2, 0.0, score), float("-inf"))


@triton.jit
def _mean_key(dot, inverse, mask, size):
    """Mean cosine with the others of the window (Eq. 1) from u_i.s, [G, T]."""
    own = (inverse > 0).to(tl.float32)
    return _key((dot - own) / tl.maximum(size - 1, 1).to(tl.float32)[:, None], mask, size)


@triton.jit
def _similarity_to(rows, mask, inverse, chosen, size, scale, channels, channel_stride, CHANNELS: tl.constexpr):
    """Cosine of each token with its window's chosen one, [G, T]; chosen [G, 1] pointers, scale [G] its inverse norm."""
    exists = (size > 0)[:, None]
    dot = tl.zeros(rows.shape, tl.float32)
    for first in range(0, channels, CHANNELS):
        picked = _load(chosen, exists, first, channels, channel_stride, CHANNELS) * scale[:, None, None]
        dot += tl.sum(_load(rows, mask, first, channels, channel_stride, CHANNELS) * picked, 2)
    cosine = dot * inverse
    return tl.where(mask, tl.where(cosine == cosine, cosine, float("inf")), float("-inf"))


@triton.jit
def _mix(z):
    z = z + _GAMMA
    z = (z ^ (z >> 30)) * _FIRST
    z = (z ^ (z >> 27)) * _SECOND
    return z ^ (z >> 31)


@triton.jit
def _draw(seeds, image, step, layer, number, size):
    """`retom.rng.uniform_index`: a position in [0, size) for each of the windows `number` [G]."""
    # Blocks of one instead of scalars: a compiler may pass step and layer as constants.
    zero = tl.zeros([1], tl.int64)
    key = tl.load(seeds + image + zero).to(tl.uint64)
    key = _mix(_mix(_mix(key) + (zero + step).to(tl.uint64)) + (zero + layer).to(tl.uint64))
    drawn = _mix(key + number.to(tl.uint64)) >> 33
    return (drawn % tl.maximum(size, 1).to(tl.uint64)).to(tl.int32)


@triton.jit
def _count(rank, key, place, first, other_key, other, size):
    """Add to `rank` [G, T] the number of tokens of `other` [1, K] that precede each; without the destination."""
    ahead = other_key[:, None, :] > key[:, :, None]
    ahead |= (other_key[:, None, :] == key[:, :, None]) & (other[:, None, :] < place[:, :, None])
    counted = (other < size[:, None]) & (other != first[:, None])
    return rank + tl.sum((ahead & counted[:, None, :]).to(tl.int32), 2)


@triton.jit
def _rank(key, place, first, size, scores, TOKENS: tl.constexpr, STORED: tl.constexpr):
    """Destination first, then by decreasing key, ties to the lower position, [G, T]; scores [G] points to the keys."""
    rank = tl.full(key.shape, 1, tl.int32)
    if STORED:
        for begin in range(0, tl.max(size, 0), _COMPARED):
            other = begin + tl.arange(0, _COMPARED)[None, :]
            other_key = tl.load(scores[:, None] + other, mask=other < size[:, None], other=float("-inf"))
            rank = _count(rank, key, place, first, other_key, other, size)
    else:
        rank = _count(rank, key, place, first, key, tl.arange(0, TOKENS)[None, :], size)
    return tl.where(place == first[:, None], 0, rank)


@triton.jit
def _write(
    order, assign, weight, starts, dst_index, image, num_tokens, num_merged, token, rank, mask, entry, slot, removed,
    share, alpha,
):  # fmt: skip
    """Write the plan of windows with ranked tokens [G, T]; entry, slot: their starts, [G]."""
    removed = removed[:, None]
    slot = (slot[:, None] + tl.maximum(rank - removed, 0)).to(tl.int64)
    position = (entry[:, None] + rank).to(tl.int64)
    value = tl.where(rank == 0, alpha, tl.where(rank <= removed, share[:, None], 1.0))
    tokens, slots = image * num_tokens, image * num_merged
    tl.store(order + tokens + position, token, mask=mask)
    tl.store(assign + tokens + token, slot, mask=mask)
    tl.store(weight + tokens + token, tl.where(removed == 0, 1.0, value), mask=mask)
    head = mask & ((rank == 0) | (rank > removed))
    tl.store(starts + slots + slot, position, mask=head)
    tl.store(dst_index + slots + slot, token, mask=head)


@triton.jit(do_not_specialize=["step", "layer"])
def plan_windows(
    x, order, assign, weight, starts, dst_index, scores, seeds, image_stride, token_stride, channel_stride,
    num_tokens, num_merged, num_windows, channels, height, width, removed_0, removed_1, removed_2, removed_3,
    slot_1, slot_2, slot_3, share_0, share_1, share_2, share_3, alpha, step, layer,
    TALL: tl.constexpr, WIDE: tl.constexpr, WINDOWS: tl.constexpr, TOKENS: tl.constexpr, CHANNELS: tl.constexpr,
    DESTINATION: tl.constexpr, BY_DESTINATION: tl.constexpr, STORED: tl.constexpr,
):  # fmt: skip
    """Plan WINDOWS windows of up to TOKENS tokens each: score, choose, rank and write, all in one program."""
    image = tl.program_id(1).to(tl.int64)
    number = tl.program_id(0) * WINDOWS + tl.arange(0, WINDOWS)
    kind, local, top, left, tall, wide, entry = _locate(number, height, width, TALL, WIDE)
    size = tl.where(number < num_windows, tall * wide, 0)
    place = tl.arange(0, TOKENS)[None, :]
    mask = place < size[:, None]
    token = _token(place, top, left, wide, width)
    rows = x + image * image_stride + token * token_stride
    inverse = _inverse_norms(rows, mask, channels, channel_stride, CHANNELS)
    dot = tl.zeros(rows.shape, tl.float32)
    for begin in range(0, channels, CHANNELS):
        unit = _load(rows, mask, begin, channels, channel_stride, CHANNELS) * inverse[:, :, None]
        dot += tl.sum(unit * tl.sum(unit, 1)[:, None, :], 2)
    key = _mean_key(dot, inverse, mask, size)
    if DESTINATION == 0:
        first = tl.argmax(key, 1)
    elif DESTINATION == 1:
        first = tl.argmin(tl.where(mask, key, float("inf")), 1)
    else:
        first = _draw(seeds, image, step, layer, number, size)
    if BY_DESTINATION:
        chosen = x + image * image_stride + _token(first[:, None], top, left, wide, width) * token_stride
        scale = tl.sum(tl.where(place == first[:, None], inverse, 0.0), 1)
        key = _similarity_to(rows, mask, inverse, chosen, size, scale, channels, channel_stride, CHANNELS)
    stored = entry
    if STORED:
        stored = scores + image * num_tokens + entry
        tl.store(stored[:, None] + place, key, mask=mask)
        tl.debug_barrier()
    rank = _rank(key, place, first, size, stored, TOKENS, STORED)
    removed = _choose(kind, removed_0, removed_1, removed_2, removed_3)
    share = _choose(kind, share_0, share_1, share_2, share_3)
    slot = _choose(kind, 0, slot_1, slot_2, slot_3) + local * (tall * wide - removed)
    _write(
        order, assign, weight, starts, dst_index, image, num_tokens, num_merged, token, rank, mask, entry, slot,
        removed, share, alpha,
    )  # fmt: skip

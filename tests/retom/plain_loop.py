"""Algorithm 1 of ReToM in plain loops in float64: slow, and simple enough to verify by reading."""

import math
from fractions import Fraction

import torch


def windows_of(grid, window):
    """The tokens of every window, row by row from the top left."""
    height, width = grid
    tall, wide = min(window, height), min(window, width)
    for top in range(0, height, tall):
        for left in range(0, width, wide):
            rows = range(top, min(top + tall, height))
            yield [row * width + column for row in rows for column in range(left, min(left + wide, width))]


def cosine(a, b):
    """Cosine of two vectors; 0 if one of them is zero."""
    norms = float(a.norm() * b.norm())
    return float(a @ b) / norms if norms else 0.0


def merge_image(x, grid, *, window, ratio, alpha=0.5, destination="representative", source="average"):
    """Merge and unmerge one image x [N, C]; returns ({slot token: merged vector}, unmerged [N, C])."""
    x = x.double()
    merged, out = {}, torch.empty_like(x)
    for tokens in windows_of(grid, window):
        size = len(tokens)
        removed = min(math.floor(Fraction(str(ratio)) * size), size - 1)
        mean = {i: sum(cosine(x[i], x[j]) for j in tokens if j != i) / max(size - 1, 1) for i in tokens}
        sign = -1 if destination == "representative" else 1
        chosen = min(tokens, key=lambda i: (sign * mean[i], i))
        score = mean if source == "average" else {i: cosine(x[i], x[chosen]) for i in tokens}
        others = sorted((i for i in tokens if i != chosen), key=lambda i: (-score[i], i))
        sources, kept = others[:removed], others[removed:]
        merged[chosen] = x[chosen]
        if sources:
            merged[chosen] = alpha * x[chosen] + (1 - alpha) * sum(x[i] for i in sources) / len(sources)
        for i in [chosen, *sources]:
            out[i] = merged[chosen]
        for i in kept:
            merged[i] = out[i] = x[i]
    return merged, out

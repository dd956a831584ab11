"""Randomness as a function of seed, stage and step, so that a resumed training equals an unbroken one."""

import functools
import hashlib

import torch


def generator(seed: int, *where: object) -> torch.Generator:
    """A CPU generator for one place in a training, such as generator(0, "classifier", 17).

    torch's CPU generator reads 32 bits of its seed; these are a digest, so neighbouring steps have unrelated streams.
    """
    digest = hashlib.sha256("/".join(map(str, (seed, *where))).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))


def batch_indices(seed: int, stage: str, step: int, batch: int, n: int) -> torch.Tensor:
    """The images of step `step`, [batch]: consecutive epochs, each a new permutation, split into batches."""
    first, found = step * batch, []
    while len(found) < batch:
        epoch, offset = divmod(first + len(found), n)
        found += _permutation(seed, stage, epoch, n)[offset : offset + batch - len(found)]
    return torch.tensor(found)


@functools.lru_cache(maxsize=4)
def _permutation(seed: int, stage: str, epoch: int, n: int) -> list[int]:
    return torch.randperm(n, generator=generator(seed, stage, "epoch", epoch)).tolist()

"""Whether a row's method supports its model, determined from configurations before any weight is loaded."""

from typing import Any

import retom
from baselines.adapter import Adapter
from eval.generation.models.skeleton import denoiser_skeleton
from eval.generation.sampler import check_attention
from eval.row import Row
from retom.patching.sites import find_sites


def check_served(row: Row) -> None:
    """ValueError if method, attention or batches of the row do not fit its model; RunError if this is unknown."""
    denoiser = denoiser_skeleton(row.model)
    check_attention(denoiser, row.sampler.attention)
    if row.sampler.compile:
        denoiser.compile()  # compiles nothing before a call
    if isinstance(row.method, Adapter):
        row.method.check_model(denoiser)
    else:
        retom.check_model(denoiser, row.method)
    _check_depth(row, denoiser)


def _check_depth(row: Row, denoiser: Any) -> None:
    """ValueError if the method's options exclude every site, as ToMeSD's defaults do on SDXL."""
    sites = find_sites(denoiser)
    coarser = sorted({site.downsample for site in sites})
    if row.method.merges and sites and not any(map(row.method.reaches, coarser)):
        raise ValueError(
            f"method {row.name} with these options merges at none of the {len(sites)} sites of model {row.model.name}: "
            f"their grids are {' or '.join(map(str, coarser))} times coarser than its top level, which has none; "
            f"choose options that merge there, such as method.max_downsample={coarser[-1]} if the method has it"
        )

"""Whether a row's method can serve its model, known from configurations alone, before any weight is loaded."""

from torch import nn

import retom
from baselines.adapter import Adapter
from eval.models.skeleton import denoiser_skeleton
from eval.sampler import check_attention
from retom.sites import find_sites, is_flux
from scripts.jobs.row import Row


def check_served(row: Row) -> None:
    """ValueError where method, attention or batches of the row do not fit its model; RunError where none can tell."""
    denoiser = denoiser_skeleton(row.model)
    check_attention(denoiser, row.sampler.attention)
    if row.sampler.compile:
        denoiser.compile()  # compiles nothing before a call
    if isinstance(row.method, Adapter):
        row.method.check_model(denoiser)
    else:
        retom.check_model(denoiser, row.method)
        _check_batches(row, denoiser)
    _check_depth(row, denoiser)


def _check_batches(row: Row, denoiser: nn.Module) -> None:
    """ValueError where a call of Flux would hold several images, each with a plan of its own."""
    batches = {row.sampler.batch_size, *(row.timing.batch_sizes if row.timing.enabled else ())}
    if row.method.merges and is_flux(denoiser) and max(batches) > 1:
        raise ValueError(
            f"method {row.name} merges other tokens in every image, and Flux has one table of positions for all images "
            f"of a call, got batches of {max(batches)}; set sampler.batch_size=1 timing.batch_sizes=[]"
        )


def _check_depth(row: Row, denoiser: nn.Module) -> None:
    """ValueError where the method's options leave every site alone, as ToMeSD's own do on SDXL."""
    sites = find_sites(denoiser)
    coarser = sorted({site.downsample for site in sites})
    if row.method.merges and sites and not any(map(row.method.reaches, coarser)):
        raise ValueError(
            f"method {row.name} with these options merges at none of the {len(sites)} sites of model {row.model.name}: "
            f"their grids are {' or '.join(map(str, coarser))} times coarser than its top level, which has none; "
            f"choose options that merge there, as method.max_downsample={coarser[-1]} where the method has it"
        )

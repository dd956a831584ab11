"""Whether a row's method can serve its model, known from configurations alone, before any weight is loaded."""

import retom
from baselines.adapter import Adapter
from eval.models.skeleton import denoiser_skeleton
from eval.sampler import check_attention
from retom.sites import is_flux
from scripts.jobs.row import Row


def check_served(row: Row) -> None:
    """ValueError where method, attention or batches of the row do not fit its model; RunError where none can tell."""
    denoiser = denoiser_skeleton(row.model)
    check_attention(denoiser, row.sampler.attention)
    if row.sampler.compile:
        denoiser.compile()  # compiles nothing before a call
    if isinstance(row.method, Adapter):
        row.method.check_model(denoiser)
        return
    retom.check_model(denoiser, row.method)
    batches = {row.sampler.batch_size, *(row.timing.batch_sizes if row.timing.enabled else ())}
    if row.method.merges and is_flux(denoiser) and max(batches) > 1:
        raise ValueError(
            f"method {row.name} merges other tokens in every image, and Flux has one table of positions for all images "
            f"of a call, got batches of {max(batches)}; set sampler.batch_size=1 timing.batch_sizes=[]"
        )

"""Putting a method on a model, taking it off, and asking what it did."""

import contextlib
import operator
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from retom.backends import get_backend
from retom.generation import Session
from retom.hooks import GridHook, MergeHook, PlanHook, StepHook
from retom.joint import JointMergeHook
from retom.method import ReToM, TokenMerger, check_merger
from retom.registry import check_removable, register, remove_hooks
from retom.site_state import Grid, SitePatch
from retom.sites import Site, check_targets, find_denoiser, find_sites
from retom.steps import calls

_NAMES = _STEP, _GRID, _PLAN, _MERGE = "retom_step", "retom_grid", "retom_plan", "retom_merge"


def apply_patch(model: object, method: TokenMerger | None = None, *, backend: str = "gather", **options: Any) -> int:
    """Merge tokens in a diffusers model from now on.

    Args:
        model: a pipeline, its `unet`, or its `transformer`.
        method: what plans the merges; without it the options build a `ReToM`.
        backend: how plans are executed, "gather", "matmul" or "triton".
        options: fields of `ReToM`, as `ratio=0.5`; not together with `method`.

    State belongs to the thread that calls the model: threads may share a patched model, each with a scheduler of its
    own. A compiled model keeps its plans per thread too.

    With gradient checkpointing, call `backward` before the denoiser's next call: what is run again then uses the plans
    of the last one.

    Returns:
        The number of sites patched.

    Raises:
        ValueError: for a model that is patched or offloaded already, has no site or no sub-layer for a target, or for a
            bad option.
    """
    if method is not None and options:
        raise ValueError(f"give method or options of ReToM, not both: got method and {', '.join(sorted(options))}")
    method = _retom(options) if method is None else method
    get_backend(backend)
    denoiser = find_denoiser(model)
    check_free(denoiser)
    if type(getattr(denoiser, "_hf_hook", None)).__name__ == "CpuOffload":
        # The pipeline takes accelerate's hook off after every call, and with it whatever was put over it.
        raise ValueError(
            f"the {type(denoiser).__name__} is offloaded already; patch it before pipe.enable_model_cpu_offload(), or "
            "call pipe.remove_all_hooks() first"
        )
    sites = _served(denoiser, method)
    _register(denoiser, sites, method, backend)
    return len(sites)


def check_free(denoiser: nn.Module) -> None:
    """ValueError where tokens of this denoiser are merged already, by `retom` or by the package `tomesd`."""
    if _step_hook(denoiser) is not None:
        raise ValueError(f"the {type(denoiser).__name__} is patched already; call retom.remove_patch first")
    if any(type(module).__name__ == "ToMeBlock" for module in denoiser.modules()):
        raise ValueError(f"the {type(denoiser).__name__} is patched by tomesd; call tomesd.remove_patch first")


def check_model(model: object, method: TokenMerger) -> int:
    """Whether `apply_patch` would take this method on this model; nothing is patched and no weights are needed.

    A model on the meta device will do, so that a run is refused before its weights are loaded.

    Returns:
        The number of sites that would be patched.

    Raises:
        ValueError: where `apply_patch` would refuse model or method.
    """
    return len(_served(find_denoiser(model), method))


def remove_patch(model: object) -> None:
    """Take the patch off; every module's `vars` are again what they were. A model without a patch is left as it is.

    Raises:
        ValueError: for a model that was offloaded by accelerate after it was patched.
    """
    denoiser = find_denoiser(model)
    check_removable(denoiser, _NAMES)
    remove_hooks(denoiser, _NAMES)


@contextlib.contextmanager
def patched(
    model: object, method: TokenMerger | None = None, *, backend: str = "gather", **options: Any
) -> Iterator[int]:
    """`apply_patch` for the length of a `with` block; the patch comes off however the block ends."""
    count = apply_patch(model, method, backend=backend, **options)
    try:
        yield count
    finally:
        remove_patch(model)


def set_seeds(model: object, seeds: Sequence[int]) -> None:
    """Give the image seeds of the generations to come, one per image, for methods that choose at random.

    One per image, or per video where the model takes videos. They stay until others are given. All branches of guidance
    get the same seeds. Without a call every image has seed 0. A thread that gives none uses those of the thread that
    patched the model.
    """
    try:
        whole = tuple(operator.index(seed) for seed in seeds)
    except TypeError as error:
        raise ValueError(f"seeds must hold one integer per image, got {seeds!r}") from error
    beyond = [seed for seed in whole if not -(2**63) <= seed < 2**63]
    if beyond:
        raise ValueError(f"seeds must be integers in [-2**63, 2**63), one per image, got {beyond[0]}")
    if not whole:
        raise ValueError("seeds must hold one integer per image, got none")
    generation = _patched_step_hook(model).session.own
    device = next((weight.device for weight in find_denoiser(model).parameters()), torch.device("cpu"))
    device = torch.device("cpu") if device.type == "meta" else device  # where weights are offloaded one by one
    generation.give(torch.tensor(whole, dtype=torch.int64, device=device))


def reset(model: object) -> None:
    """Begin a new generation of the calling thread with the next denoiser call.

    Pipelines need no such call: the schedule is new each time, and so are Flux's position ids. Call it in a loop of
    your own that gives timesteps as numbers which go on falling from one generation to the next.
    """
    _patched_step_hook(model).session.own.reset()


def own_plans(model: object) -> None:
    """Copy what the last denoiser call left for the next ones into memory of its own.

    For CUDA graphs (`torch.compile(mode="reduce-overhead")`), whose next call overwrites what the last one made, while
    a plan is read for `period` calls. To be called after every call, outside of what is compiled. Torch can be asked to
    copy by itself from 2.15 on (`triton.cudagraph_trees_generation_cloning`). Nothing is copied where nothing is new.
    """
    step_hook = _patched_step_hook(model)
    generation, copies = step_hook.session.own, {}

    def own(tensor: Tensor) -> Tensor:
        if id(tensor) not in copies:  # tensors that plans share are shared by the copies
            copies[id(tensor)] = (tensor.clone(), tensor)
        return copies[id(tensor)][0]

    sequence = generation.sequence
    sequence.output = tree_map_only(Tensor, own, sequence.output)
    if not generation.refresh:
        return
    for slot in (patch.slot for patch in step_hook.patches):
        slot.kept = tree_map_only(Tensor, own, slot.kept)
        slot.memory.update(tree_map_only(Tensor, own, dict(slot.memory)))


def report(model: object) -> list[dict[str, Any]]:
    """What each site did since the patch was applied.

    Returns:
        One dict per site: site (name), layer_type, grid ([H, W] or None before the first call), tokens (N), merged (M
        of the last plan that merged on this grid; equal to tokens where none did), plans_computed and plans_reused
        (denoiser calls of either kind).
    """
    step_hook = _patched_step_hook(model)
    counts = step_hook.session.counts()
    return [patch.report(*counts) for patch in step_hook.patches]


def _retom(options: dict[str, Any]) -> ReToM:
    unknown = sorted(set(options) - set(ReToM.__dataclass_fields__))
    if unknown:
        allowed = ", ".join(ReToM.__dataclass_fields__)
        raise ValueError(f"unknown option {unknown[0]!r} of ReToM; allowed are {allowed}")
    return ReToM(**options)


def _served(denoiser: nn.Module, method: TokenMerger) -> list[Site]:
    """The sites that have a sub-layer for a target of the method; ValueError where the two do not fit."""
    check_merger(method)
    sites = find_sites(denoiser)
    check_targets(denoiser, sites, tuple(method.targets))
    method.check_model(denoiser)
    return [site for site in sites if site.sublayers(tuple(method.targets))]


def _register(denoiser: nn.Module, sites: list[Site], method: TokenMerger, backend: str) -> None:
    session = Session(calls(method.due))
    grids: dict[nn.Module, Grid] = {}
    patches: list[SitePatch] = []
    for site in sites:
        if site.parent not in grids:
            grids[site.parent] = Grid()
        patch = SitePatch(site, method, backend, session, grids[site.parent])
        if method.share_plan:
            patch.leader = next((other for other in patches if other.site.parent is site.parent), None)
        patches.append(patch)
    for parent, grid in grids.items():
        register(parent, GridHook(grid), _GRID)
    register(denoiser, StepHook(session, patches, method.needs_output), _STEP)
    for site, patch in zip(sites, patches, strict=True):
        on_block = method.metric == "block_input"
        if on_block:
            register(site.block, PlanHook(patch), _PLAN)
        for place, (target, module) in enumerate(site.sublayers(tuple(method.targets)).items()):
            merge_hook = JointMergeHook if site.joint and target.startswith("self") else MergeHook
            register(module, merge_hook(patch, target, plans=not on_block and place == 0), _MERGE)


def _step_hook(denoiser: nn.Module) -> StepHook | None:
    registry = vars(denoiser).get("_diffusers_hook")
    return None if registry is None else registry.get_hook(_STEP)


def _patched_step_hook(model: object) -> StepHook:
    denoiser = find_denoiser(model)
    hook = _step_hook(denoiser)
    if hook is None:
        raise ValueError(f"the {type(denoiser).__name__} is not patched; call retom.apply_patch first")
    return hook

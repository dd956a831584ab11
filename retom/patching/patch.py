"""Apply a method to a model, remove it, and report what it did."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from retom.backends import get_backend
from retom.method import TokenMerger, check_merger, chosen_method
from retom.patching.hooks import GridHook, PlanHook, StepHook
from retom.patching.merging import MergeHook
from retom.patching.registry import check_removable, register, remove_hooks
from retom.patching.rotary import TurnHook
from retom.patching.site_state import Grid, SitePatch
from retom.patching.sites import Site, check_targets, find_denoiser, find_sites
from retom.rng import as_seeds
from retom.state.generation import Session
from retom.state.steps import calls

_NAMES = _STEP, _GRID, _PLAN, _MERGE, _TURN = "retom_step", "retom_grid", "retom_plan", "retom_merge", "retom_turn"


def apply_patch(model: object, method: TokenMerger | None = None, *, backend: str = "gather", **options: Any) -> int:
    """Patch a diffusers model so that it merges tokens.

    Args:
        model: a pipeline, its `unet`, or its `transformer`.
        method: the method that plans the merges; if None, a `ReToM` with `options`.
        backend: how plans are executed, "gather", "matmul" or "triton".
        options: fields of `ReToM`, such as `ratio=0.5`; not together with `method`.

    State belongs to the thread that calls the model. Threads may share a patched model, compiled or not, if each has
    its own scheduler and tokenizer (a fast tokenizer that two threads use at once fails with "Already borrowed").

    A sub-layer that needs all tokens runs on all of them, with a warning: an attention whose processor computes the
    attention map itself, outside of diffusers' models, and a "self_kv" attention that receives keys.

    accelerate replaces `forward` as hooks do: patch first, then offload.

    With gradient checkpointing, call `backward` before the next call of the denoiser: recomputed activations use the
    plans of the last call.

    Returns:
        The number of sites patched.

    Raises:
        ValueError: if the model is patched or offloaded already or has no site or no sub-layer for a target, or if an
            option is invalid.
    """
    method = chosen_method(method, options)
    get_backend(backend)
    denoiser = find_denoiser(model)
    check_free(denoiser)
    if type(getattr(denoiser, "_hf_hook", None)).__name__ == "CpuOffload":
        # The pipeline removes accelerate's hook after every call, and with it any hook on top of it.
        raise ValueError(
            f"the {type(denoiser).__name__} is offloaded already; patch it before pipe.enable_model_cpu_offload(), or "
            "call pipe.remove_all_hooks() first"
        )
    sites = _served(denoiser, method)
    _register(denoiser, sites, method, backend)
    return len(sites)


def check_free(denoiser: nn.Module) -> None:
    """ValueError if this denoiser is patched already, by `retom` or by the package `tomesd`."""
    if _step_hook(denoiser) is not None:
        raise ValueError(f"the {type(denoiser).__name__} is patched already; call retom.remove_patch first")
    if any(type(module).__name__ == "ToMeBlock" for module in denoiser.modules()):
        raise ValueError(f"the {type(denoiser).__name__} is patched by tomesd; call tomesd.remove_patch first")


def check_model(model: object, method: TokenMerger) -> int:
    """Check that `apply_patch` would accept this method for this model, without patching it.

    The model needs no weights: it may be on the meta device.

    Returns:
        The number of sites that would be patched.

    Raises:
        ValueError: if `apply_patch` would raise one.
    """
    return len(_served(find_denoiser(model), method))


def remove_patch(model: object) -> None:
    """Remove the patch and restore the `vars` of every module. A model without a patch is not changed.

    Raises:
        ValueError: if the model was offloaded by accelerate after it was patched.
    """
    denoiser = find_denoiser(model)
    check_removable(denoiser, _NAMES)
    remove_hooks(denoiser, _NAMES)


@contextlib.contextmanager
def patched(
    model: object, method: TokenMerger | None = None, *, backend: str = "gather", **options: Any
) -> Iterator[int]:
    """Context manager: `apply_patch` on entry, `remove_patch` on exit, also after an exception."""
    count = apply_patch(model, method, backend=backend, **options)
    try:
        yield count
    finally:
        remove_patch(model)


def set_seeds(model: object, seeds: Sequence[int]) -> None:
    """Set the image seeds of the following generations, for methods with random choices.

    Args:
        model: a patched model.
        seeds: one integer per image, or per video if the model takes videos. They apply until others are set.

    All branches of guidance get the same seeds. If seeds are never set, every image has seed 0. A thread that sets none
    uses those of the thread that patched the model.

    Raises:
        ValueError: if the model is not patched or the seeds are not integers in [-2**63, 2**63).
    """
    given = as_seeds(seeds)
    generation = _patched_step_hook(model).session.own
    device = next((weight.device for weight in find_denoiser(model).parameters()), torch.device("cpu"))
    device = torch.device("cpu") if device.type == "meta" else device  # weights are offloaded one by one
    generation.give(given.to(device))


def reset(model: object) -> None:
    """Start a new generation of the calling thread with the next denoiser call.

    Pipelines do not need this: they create a new schedule or a new marker for every generation. Call it in your own
    sampling loop if its timesteps are numbers that keep falling from one generation to the next.

    A model compiled as one graph cannot read timesteps. Pass the same timestep tensor to every call of a step (`for t
    in timesteps`), and call this before a generation that has the embeddings and shapes of the last one.
    """
    _patched_step_hook(model).session.own.reset()


def own_plans(model: object) -> None:
    """Copy the plans and outputs that the last denoiser call stored for later calls.

    CUDA graphs (`torch.compile(mode="reduce-overhead")`) overwrite the tensors of one call in the next, but a plan is
    read for `period` calls. Call this after every denoiser call, outside of the compiled code. From 2.15 on, torch can
    copy by itself (`triton.cudagraph_trees_generation_cloning`). If nothing is new, nothing is copied.
    """
    step_hook = _patched_step_hook(model)
    generation, copies = step_hook.session.own, {}

    def own(tensor: Tensor) -> Tensor:
        if id(tensor) not in copies:  # plans that share a tensor share its copy
            copies[id(tensor)] = (tensor.clone(), tensor)
        return copies[id(tensor)][0]

    sequence = generation.sequence
    sequence.output = tree_map_only(Tensor, own, sequence.output)
    if not generation.refresh:
        return
    for slot in (patch.slot for patch in step_hook.patches):
        slot.stored = tree_map_only(Tensor, own, slot.stored)
        slot.memory.update(tree_map_only(Tensor, own, dict(slot.memory)))


def report(model: object) -> list[dict[str, Any]]:
    """Report what each site did since the patch was applied.

    Returns:
        One dict per site: site (name), layer_type, grid ([H, W], or None before the first call), tokens (N), merged (M
        of the last plan that merged on this grid, or N if none did), plans_computed and plans_reused (the numbers of
        denoiser calls that made and reused a plan).

    Raises:
        ValueError: if the model is not patched.
    """
    step_hook = _patched_step_hook(model)
    counts = step_hook.session.counts()
    return [patch.report(*counts) for patch in step_hook.patches]


def _served(denoiser: nn.Module, method: TokenMerger) -> list[Site]:
    """The sites that have a sub-layer for a target of the method; ValueError if model and method do not match."""
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
        patch = SitePatch(site, method, backend, session, grids.setdefault(site.parent, Grid()))
        if method.share_plan:
            patch.leader = next((other for other in patches if other.site.parent is site.parent), None)
        patches.append(patch)
    for parent, family in {site.parent: site.family for site in sites}.items():
        register(parent, GridHook(grids[parent], family), _GRID)
    register(denoiser, StepHook(session, patches, method.needs_output), _STEP)
    for patch in patches:
        _register_site(patch)


def _register_site(patch: SitePatch) -> None:
    """The hooks that plan and merge at one site. The first sub-layer plans, unless the block does."""
    on_block = patch.method.metric == "block_input"
    if on_block:
        register(patch.site.block, PlanHook(patch), _PLAN)
    for place, (target, part) in enumerate(patch.site.parts(tuple(patch.method.targets)).items()):
        module = getattr(patch.site.block, part.module)
        hook = MergeHook(patch, target, part, plans=not on_block and place == 0)
        register(module, hook, _MERGE)
        for norm in () if part.positions is None else (*part.positions.image_norms, *part.positions.text_norms):
            if getattr(module, norm, None) is not None:
                register(getattr(module, norm), TurnHook(hook.turns, norm), _TURN)


def _step_hook(denoiser: nn.Module) -> StepHook | None:
    registry = vars(denoiser).get("_diffusers_hook")
    return None if registry is None else registry.get_hook(_STEP)


def _patched_step_hook(model: object) -> StepHook:
    denoiser = find_denoiser(model)
    hook = _step_hook(denoiser)
    if hook is None:
        raise ValueError(f"the {type(denoiser).__name__} is not patched; call retom.apply_patch first")
    return hook

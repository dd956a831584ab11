"""ReToM: local representative token guided merging for diffusers models (arXiv 2507.12771).

import retom
retom.apply_patch(pipe, ratio=0.5)  # a pipeline, its unet or its transformer
with retom.patched(pipe, retom.ReToM(ratio=0.5, window=8)): ...
retom.remove_patch(pipe)
"""

from typing import TYPE_CHECKING, Any

from retom.merged_attention import MergedAttention
from retom.method import ReToM, SiteContext, TokenMerger
from retom.plans.base import Plan
from retom.plans.dense import DensePlan
from retom.plans.merge_plan import MergePlan, merge_plan

if TYPE_CHECKING:
    from retom.patching.patch import (
        apply_patch,
        check_model,
        own_plans,
        patched,
        remove_patch,
        report,
        reset,
        set_seeds,
    )

__all__ = [
    "DensePlan",
    "MergePlan",
    "MergedAttention",
    "Plan",
    "ReToM",
    "SiteContext",
    "TokenMerger",
    "apply_patch",
    "check_model",
    "merge_plan",
    "own_plans",
    "patched",
    "remove_patch",
    "report",
    "reset",
    "set_seeds",
]
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    """What works on models imports the hooks of diffusers, which plans and methods do not need."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from retom.patching import patch

    return getattr(patch, name)


def __dir__() -> list[str]:
    return sorted(__all__)

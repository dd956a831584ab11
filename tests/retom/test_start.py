"""What `import retom` costs: plans and methods need torch alone, a model the hooks of diffusers."""

import subprocess
import sys

import pytest
import torch

import retom
from retom.tracing import constant


def imported(statement: str, *names: str) -> list[str]:
    """Which of these modules a new Python has imported after a statement."""
    code = f"import sys\n{statement}\nprint(*[name for name in {names!r} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_plans_and_methods_import_torch_alone() -> None:
    heavy = ("torch", "diffusers", "transformers", "peft", "torch._dynamo", "triton")
    assert imported("import retom; retom.ReToM(ratio=0.5); retom.MergedAttention", *heavy) == ["torch"]


def test_a_model_imports_no_architecture() -> None:
    models = ("diffusers.models.unets.unet_2d_condition", "diffusers.models.transformers.transformer_flux")
    assert imported("import retom; retom.apply_patch", "diffusers.hooks", *models) == ["diffusers.hooks"]


def test_every_public_name_is_there() -> None:
    assert set(retom.__all__) == set(dir(retom))
    assert all(getattr(retom, name).__name__ == name for name in retom.__all__)
    with pytest.raises(AttributeError, match="module 'retom' has no attribute 'appli_patch'"):
        retom.appli_patch  # noqa: B018


def test_constants_are_marked_as_torch_marks_them() -> None:
    def ours() -> int:
        return 1

    def theirs() -> int:
        return 1

    assert vars(constant(ours)) == vars(torch.compiler.assume_constant_result(theirs))

"""How modules are compiled: what torch is asked for, and that nothing falls back to eager in silence."""

import subprocess
import sys

import pytest
import torch

from eval.generation.compiling import arguments

TOO_MANY = """
import torch
from eval.generation import compiling


class Layer(torch.nn.Linear):  # torch 2.11 compiles none of torch's own layers by itself
    def forward(self, x):
        return 2 * super().forward(x)


compiling.GRAPHS = 3
shared = Layer(2, 2)
compiling.compile_in_place(shared, "default")
shared.compile(backend="eager", dynamic=False)
for rows in range(2, 9):
    shared(torch.ones(rows, 2))
"""


@pytest.mark.parametrize("mode", ["default", "reduce-overhead", "max-autotune"])
def test_torch_takes_what_a_module_is_compiled_with(mode):
    torch.compile(torch.nn.Linear(2, 2), **arguments(mode))  # checks the names and types of options


def test_cuda_graphs_keep_tensors_that_are_still_held():
    asked = arguments("reduce-overhead")
    if "triton.cudagraph_trees_generation_cloning" in torch._inductor.list_options():
        assert asked["options"]["triton.cudagraphs"] is True
        assert asked["options"]["triton.cudagraph_trees_generation_cloning"] == "user_visible"
    else:
        assert asked == {"mode": "reduce-overhead"}


def test_too_many_graphs_are_an_error_and_not_an_uncompiled_model():
    ended = subprocess.run([sys.executable, "-c", TOO_MANY], capture_output=True, text=True)
    assert ended.returncode == 1
    assert "recompile_limit" in ended.stderr

"""Where the tests of this folder run: on the CPU in the normal suite, and on a GPU with `pytest -m gpu`.

Both are the same bodies, so that what a GPU is given has run before. Triton's CPU half needs its interpreter, which is
chosen for a whole process: tests/retom/backends/test_triton.py runs these files again with TRITON_INTERPRET=1, at
smaller sizes.
"""

import os

import pytest
import torch

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
ON_GPU = (
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and there is none"),
    pytest.mark.filterwarnings("default"),  # a new machine's warnings are shown and are no failures
)
HERE = "cpu"

everywhere = pytest.mark.parametrize("device", [HERE, pytest.param("cuda", marks=ON_GPU)])
on_every_backend = pytest.mark.parametrize(
    ("device", "backend"),
    [(HERE, "triton")]
    if INTERPRETED
    else [
        (HERE, "gather"),
        (HERE, "matmul"),
        *(pytest.param("cuda", backend, marks=ON_GPU) for backend in ("gather", "matmul", "triton")),
    ],
)
on_triton = pytest.mark.parametrize("device", [HERE if INTERPRETED else pytest.param("cuda", marks=ON_GPU)])


def wait(device: str) -> None:
    """Wait for what was launched."""
    if device != HERE:
        torch.cuda.synchronize(device)

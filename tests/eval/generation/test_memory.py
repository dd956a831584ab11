"""Too little memory: batches are halved, nothing is made twice, other errors are not taken for it."""

import pytest
import torch

from eval.errors import RunError
from eval.generation.memory import BatchLimit, is_out_of_memory

CPU = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "4398046511104 bytes. Error code 12 (Cannot allocate memory)"
)


def test_what_torch_raises_here_is_known() -> None:
    with pytest.raises((RuntimeError, MemoryError)) as raised:
        torch.empty(2**50, dtype=torch.uint8)
    assert is_out_of_memory(raised.value)


CUDA = RuntimeError(
    "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call"
)
CUBLAS = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


@pytest.mark.parametrize(
    "error", [torch.cuda.OutOfMemoryError("CUDA out of memory."), MemoryError(), CPU, CUDA, CUBLAS], ids=repr
)
def test_batches_are_halved_until_they_fit_and_stay_so(error, caplog) -> None:
    done, tried, limit = [], [], BatchLimit(8)

    def work(piece: list[int]) -> None:
        tried.append(len(piece))
        if len(piece) > 3:
            raise error
        done.extend(piece)

    limit.work_through(list(range(8)), work)
    limit.work_through(list(range(8, 11)), work)
    assert done == list(range(11))
    assert tried == [8, 4, 2, 2, 2, 2, 2, 1]
    assert limit.size == 2
    assert "memory runs out with 8 images per pipeline call; continuing with 4" in caplog.text


def test_one_image_that_does_not_fit_is_one_line() -> None:
    def work(_: list[int]) -> None:
        raise MemoryError

    with pytest.raises(RunError, match="memory runs out with one image per pipeline call; free the device"):
        BatchLimit(4).work_through([1, 2, 3], work)


def test_a_fixed_batch_is_not_halved() -> None:
    tried, limit = [], BatchLimit(4, fixed_by="float16")

    def work(piece: list[int]) -> None:
        tried.append(len(piece))
        raise MemoryError

    with pytest.raises(
        RunError, match=r"with 4 images per .* float16 images depend .* again with sampler.batch_size=2$"
    ):
        limit.work_through([1, 2, 3, 4], work)
    assert (tried, limit.size) == ([4], 4)


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("memory")])
def test_other_errors_go_on(error) -> None:
    def work(_: list[int]) -> None:
        raise error

    with pytest.raises(type(error), match=str(error)):
        BatchLimit(4).work_through([1, 2], work)

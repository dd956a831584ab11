"""What of the harness only a GPU shows: seconds, memory and its end, neighbours, kernels, networks, images.

The half that needs a GPU is marked `pytest.mark.gpu` by `tests.gpu.devices`.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from PIL import Image

import retom
from eval.errors import RunError
from eval.generation.calls import configure
from eval.generation.generate import generate
from eval.generation.memory import BatchLimit, is_out_of_memory
from eval.generation.prompts import PromptItem
from eval.generation.sampler import SamplerConfig
from eval.metrics.networks.smoke import SmokeClip, SmokeFeatures
from eval.provenance import collect
from eval.speed.attention import attention_kernels, first_call_attention
from eval.speed.bench.interleave import Case, interleave
from eval.speed.bench.probes import kernel_launches, peak_bytes
from eval.speed.idle import Watch, other_gpu_processes
from eval.speed.measuring import measure
from eval.speed.timing import TimingConfig
from tests.gpu.devices import HERE, everywhere
from tests.retom.tiny_unet import TINY

MORE_THAN_THERE_IS = 2**50  # bytes


def sampler(device: str, **options) -> SamplerConfig:
    return SamplerConfig(steps=1, height=64, width=64, device=device, **options)


def items(number: int) -> list[PromptItem]:
    return [PromptItem(f"{i:04d}_000", i, f"n{i:08d}", "dog", 0, f"a dog {i}", i, f"{i:04d}_000.png")
            for i in range(number)]  # fmt: skip


def too_large(device: str) -> torch.Tensor:
    """The error that the device's allocator really raises."""
    return torch.empty(MORE_THAN_THERE_IS, dtype=torch.uint8, device=device)


@everywhere
def test_seconds_memory_and_neighbours_are_reported(device, tiny_pipe):
    result = measure(tiny_pipe.to(device), sampler(device), TimingConfig(warmup=1, images=2), prompts=["a dog"])
    assert result["s_per_im"] > 0
    memory = result["peak_memory"]
    if device == HERE:
        assert memory["process_peak_rss_bytes"] > 10**8
    else:
        assert 0 < memory["cuda_allocated_bytes"] <= memory["cuda_reserved_bytes"]


@everywhere
def test_a_batch_that_does_not_fit_is_left_out_of_the_timing(device, tiny_pipe):
    def before(seeds: list[int]) -> None:
        if len(seeds) > 1:
            too_large(device)

    timing = TimingConfig(warmup=0, images=1, batch_sizes=(2,))
    result = measure(tiny_pipe.to(device), sampler(device), timing, prompts=["a dog"], before_batch=before)
    assert result["out_of_memory"] == [2]


@everywhere
def test_what_the_device_raises_without_memory_is_known_and_halves_the_batch(device):
    with pytest.raises((RuntimeError, MemoryError)) as raised:
        too_large(device)
    assert is_out_of_memory(raised.value)
    done, limit = [], BatchLimit(4)

    def work(piece: list[int]) -> None:
        if len(piece) > 1:
            too_large(device)
        done.extend(piece)

    limit.work_through(list(range(4)), work)
    assert (done, limit.size) == ([0, 1, 2, 3], 1)
    with pytest.raises(RunError, match="memory runs out with one image"):
        BatchLimit(1).work_through([0], lambda _: too_large(device))


@everywhere
def test_images_are_written_in_halved_batches_and_again_the_same(device, tiny_pipe, tmp_path):
    dtype = "float32" if device == HERE else "float16"
    way, chosen = sampler(device, dtype=dtype, batch_size=2), items(2)
    pipe = tiny_pipe.to(device, way.torch_dtype)
    configure(pipe, way)

    def small(seeds: list[int]) -> None:
        if len(seeds) > 1:
            too_large(device)

    whole = generate(pipe, chosen, tmp_path / "whole", way, progress=False)
    halved = generate(pipe, chosen, tmp_path / "halved", way, before_batch=small, progress=False)
    again = generate(pipe, chosen, tmp_path / "again", way, progress=False)
    assert (whole.batch_size, halved.batch_size) == (2, 1)
    assert len(whole.made) == len(halved.made) == len(again.made) == 2
    assert not whole.nan
    for item in chosen:
        files = [tmp_path / part / item.file for part in ("whole", "halved", "again")]
        ours, theirs, _ = (np.asarray(Image.open(file)).astype(int) for file in files)
        assert np.abs(ours - theirs).max() <= (1 if dtype == "float32" else 3)
        assert files[0].read_bytes() == files[2].read_bytes()


@everywhere
def test_peak_memory_is_what_is_held_at_once(device):
    x = torch.zeros(2**18, device=device)  # 1 MiB

    def call() -> torch.Tensor:
        first = x + 1
        second = first + 1
        del first
        return second + 1

    assert 2 * 2**20 <= peak_bytes(call, device) < 2 * 2**20 + 2000


@everywhere
def test_methods_are_timed_in_turn(device):
    x = torch.ones(64, 64, device=device)
    samples = interleave([Case("a", lambda: x @ x), Case("b", lambda: x + x)], rounds=3, warmup=1, device=device)
    assert all(len(sample.seconds) == 3 and min(sample.seconds) > 0 for sample in samples.values())


@everywhere
def test_launches_are_counted(device):
    x = torch.ones(64, 64, device=device)
    assert kernel_launches(lambda: x + 1, device) == (None if device == HERE else 1)
    assert kernel_launches(lambda: x + 1 + 1, device) == (None if device == HERE else 2)


@everywhere
@pytest.mark.parametrize("cuda_kernels", [False, True])
def test_the_attention_kernel_is_named(device, cuda_kernels):
    half = torch.float32 if device == HERE else torch.float16
    found = {}
    for dtype in {half, torch.float32}:
        q = torch.randn(2, 4, 256, 40, device=device, dtype=dtype)
        call = lambda q=q: F.scaled_dot_product_attention(q, q, q)  # noqa: E731
        call()
        (found[dtype],) = attention_kernels(call, device, cuda_kernels=cuda_kernels)
    kinds = ("flash",) if device == HERE else ("flash2", "flash3", "flash4", "cudnn", "efficient", "math")
    assert set(found.values()) <= {f"{kind} d=40" for kind in kinds}


@everywhere
def test_the_attention_of_a_merged_denoiser_is_named(device):
    unet = UNet2DConditionModel(**TINY).eval().to(device)
    x, text = torch.randn(2, 4, 16, 16, device=device), torch.randn(2, 7, 32, device=device)

    def denoise() -> None:
        with torch.no_grad():
            unet(x, torch.tensor(5, device=device), text)

    with retom.patched(unet):
        denoise()
        found = first_call_attention(unet, denoise, device)
    assert {name.partition(" d=")[2] for name in found} == {"8", "16"}


@everywhere
def test_the_machine_is_described(device):
    found = collect(root=Path(), device=device)["device"]
    assert found["type"] == device
    if device == HERE:
        assert found["gpu"] is None
    else:
        assert found["gpu"]["name"]
        assert found["gpu"]["vram_bytes"] > 2**30
        assert found["gpu"]["driver"]


@everywhere
def test_neighbours_are_counted_or_it_is_said_that_they_cannot_be(device):
    count = other_gpu_processes(device)
    seen = Watch(device).so_far()
    if device == HERE:
        assert (count, seen.gpu_processes) == (None, None)
    else:
        assert count is None or count >= 0
        assert seen.idle in (None, True, False)
        assert seen.reason


@everywhere
def test_networks_give_what_they_give_on_the_cpu(device):
    batch = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    features, (embed_images, texts) = SmokeFeatures(), SmokeClip().load(device)
    here_images, here_texts = SmokeClip().load(HERE)
    # cuDNN takes TF32 for convolutions unless set otherwise, and the record says so
    loose = {"atol": 5e-3, "rtol": 5e-3}
    torch.testing.assert_close(features.load(device)(batch.to(device)).cpu(), features.load(HERE)(batch), **loose)
    torch.testing.assert_close(embed_images(batch.to(device)).cpu(), here_images(batch), **loose)
    torch.testing.assert_close(texts(["a dog"]).cpu(), here_texts(["a dog"]), **loose)

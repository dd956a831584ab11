"""The host never waits for the device: no method reads a value from it when it makes or reuses a plan."""

import pytest
import torch
from diffusers import UNet2DConditionModel
from packaging.version import Version
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException

import retom
from baselines.adapter import Adapter
from baselines.atc import ATC
from baselines.ca_tome import CAToMe
from baselines.dynamic import Dynamic
from baselines.ibtm import IBTM
from baselines.oracle import Oracle
from baselines.sito import SiTo
from baselines.todo import ToDo
from baselines.tofu import ToFu
from baselines.toma import ToMA
from baselines.tomesd import ToMeSD
from tests.baselines.compiling import on
from tests.retom.device_waits import NoWaits, Waited, calls_without_waiting, fake_gpu
from tests.retom.tiny_unet import TINY

# What a method reads does not depend on torch's version; 2.11 and newer see it without a GPU.
pytestmark = pytest.mark.skipif(
    Version(torch.__version__) < Version("2.11"), reason="torch before 2.11 asks the driver to fill a fake CUDA tensor"
)

METHODS = {
    "retom": retom.ReToM(period=2),
    "retom_random": retom.ReToM(period=2, destination="random", source="destination", window=3),
    "retom_least_keys": retom.ReToM(destination="least", metric="keys", targets=("self_kv", "ff"), share_plan=True),
    "retom_dot": retom.ReToM(similarity="dot"),
    "retom_l2": retom.ReToM(similarity="l2", metric="block_input"),
    "dynamic": Dynamic(end=retom.ReToM(ratio=0.25), steps=4),
    "tomesd_plan": ToMeSD(),
    "tofu": ToFu(prune=()),
    "tofu_pruning": ToFu(),
    "sito": SiTo(),
    "toma": ToMA(side=4, destination_period=2, weight_period=1),
    "ca_tome_fixed": CAToMe(threshold=0.0, ratio=0.5, steps=(0, 2)),
    "ibtm": IBTM(),
    "todo": ToDo(),
    "oracle": Oracle(),
}
READING = {"ca_tome": CAToMe(threshold=0.0), "atc": ATC(), "atc_reciprocal": ATC(implementation="reciprocal")}


def half_model() -> UNet2DConditionModel:
    """Created in half precision on its device: a fake model cannot be cast or moved."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float16)
    try:
        with torch.device("cuda"):
            return UNet2DConditionModel(**TINY).eval()
    finally:
        torch.set_default_dtype(before)


def denoise(method, backend="gather", steps=4):
    model = half_model()
    if backend != "gather":
        with retom.patched(model, method, backend=backend):
            retom.set_seeds(model, [7])
            calls_without_waiting(model, steps)
        return
    with on(model, method):
        if not isinstance(method, Adapter):
            retom.set_seeds(model, [7])
        calls_without_waiting(model, steps)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_never_reads_the_device(method):
    with fake_gpu():
        denoise(METHODS[method])


@pytest.mark.parametrize("method", ["retom", "retom_random", "tomesd_plan", "tofu", "ca_tome_fixed"])
def test_nor_does_matmul(method):
    with fake_gpu():
        denoise(METHODS[method], "matmul")


@pytest.mark.parametrize("method", READING)
def test_a_method_that_says_it_reads_the_device_is_caught(method):
    """So that the tests above can fail."""
    with fake_gpu(), pytest.raises((Waited, DataDependentOutputException, DynamicOutputShapeException)):
        denoise(READING[method])


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: x[x > 0],
        lambda x: x.cpu(),
        lambda x: x[:, : int(x[0, 0])],
        lambda x: x + torch.arange(4).to("cuda"),
        lambda x: x + torch.tensor([1.0, 2.0, 3.0, 4.0], device="cuda"),
        lambda x: torch.equal(x, x),
    ],
)
def test_what_waits_is_seen(read):
    with fake_gpu() as device:
        x = torch.randn(4, 4, device=device)
        with NoWaits(), pytest.raises((Waited, DataDependentOutputException, DynamicOutputShapeException)):
            read(x)

"""The triton backend: interpreted tests, ahead-of-time compilation for two GPUs, errors. On a GPU: tests/gpu."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from packaging.version import Version

import retom
from retom.plans.representative import num_sources
from retom.plans.windows import tile
from tests.baselines.compiling import Counter
from tests.gpu.launches import replace_kernels
from tests.retom.device_waits import fake_gpu

triton = pytest.importorskip("triton", reason="triton is not installed")

ROOT = Path(__file__).parents[3]
TYPES = {
    torch.float32: "*fp32",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.int64: "*i64",
    torch.int32: "*i32",
}
# Bytes a thread may keep in local memory. Triton's choice of registers leaves a few values over in some variants (16
# bytes at most with Triton 3.9); a tile that does not fit would show as hundreds.
SPILLED = 64


def run_python(*arguments, **environment):
    """Run Python from the root of the project, without the interpreter of Triton unless requested."""
    inherited = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env={**inherited, **environment}, capture_output=True, text=True
    )


@pytest.mark.skipif(
    Version(triton.__version__) < Version("3.7") and Version(np.__version__) >= Version("2.4"),
    reason="the interpreter of Triton before 3.7 turns arrays into loop bounds, which NumPy refuses since 2.4",
)
@pytest.mark.parametrize(
    ("file", "which"),
    [
        ("tests/retom/interpreted_triton.py", "not slow"),
        pytest.param("tests/retom/interpreted_triton.py", "slow", marks=pytest.mark.slow),
        ("tests/gpu/test_backends.py", "not gpu"),
    ],
)
def test_kernels_equal_gather_in_the_interpreter(file, which):
    warnings = ["-W", "error"]
    if Version(triton.__version__) < Version("3.7"):  # NumPy warns of what it refuses since 2.4
        warnings += ["-W", "ignore:Conversion of an array with ndim > 0 to a scalar:DeprecationWarning"]
    done = run_python("-m", "pytest", *warnings, "-p", "no:cacheprovider", "-m", which, file, TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("sys.modules['triton'] = None", "needs the package triton, which is not installed; choose backend 'gather'"),
        (
            "torch.cuda.is_available = lambda: False",
            "needs a CUDA device .* and none is available; choose backend 'gather'",
        ),
    ],
)
def test_a_machine_that_cannot_run_it_raises_when_the_patch_is_applied(lines, message):
    done = run_python(
        "-c",
        f"import sys, torch, retom, diffusers\n{lines}\n"
        "model = diffusers.Transformer2DModel(num_attention_heads=1, attention_head_dim=8, in_channels=8,"
        " norm_num_groups=4)\n"
        "try:\n    retom.apply_patch(model, backend='triton')\n"
        "except ValueError as error:\n    print(error)\n"
        "print(any('_diffusers_hook' in vars(module) for module in model.modules()))\n",
    )
    assert re.search(message, done.stdout), done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "False"


def test_importing_the_library_does_not_import_triton():
    done = run_python("-c", "import sys, torch; before = 'triton' in sys.modules; import retom.backends\n"
                      "print(before or 'retom.backends.triton.launch' not in sys.modules)")  # fmt: skip
    assert done.stdout.strip() == "True", done.stderr


def test_cpu_tensors_are_refused():
    x = torch.randn(1, 16, 6)
    message = r"runs on CUDA tensors .* got a tensor on cpu; choose backend 'gather'"
    with pytest.raises(ValueError, match=message):
        retom.merge_plan(x, (4, 4), window=2, ratio=0.5, backend="triton")
    plan = retom.merge_plan(x, (4, 4), window=2, ratio=0.5).on("triton")
    for call, argument in ((plan.merge, x), (plan.unmerge, x[:, :8])):
        with pytest.raises(ValueError, match=message):
            call(argument)


class Recorder:
    """Replaces a kernel and records the arguments of its launches."""

    def __init__(self, kernel, launches):
        self.kernel, self.launches = kernel, launches

    def __getitem__(self, grid):
        return lambda *args, **kwargs: self.launches.append((self.kernel, args, kwargs))


def recorded(monkeypatch, channels, grid, window, dtype, destination, source):
    """The launches of one site, with the arguments they would have on a GPU."""
    from retom.backends.triton import launch

    launches = []
    with monkeypatch.context() as patch:
        replace_kernels(patch, lambda kernel, _: Recorder(kernel, launches))
        x = torch.empty(2, grid[0] * grid[1], channels, dtype=dtype)
        regions = tile(grid, window)
        removed = [num_sources(0.5, region.size) for region in regions]
        draw = (torch.zeros(2, dtype=torch.int64) if destination == "random" else None, 3, 2)
        plan = launch.plan_windows(x, grid, regions, removed, 0.5, destination, source, draw)
        launch.unmerge(launch.merge(x, plan.order, plan.starts, plan.weight, False), plan.assign)
    return launches


def as_source(kernel, args, kwargs):
    """What Triton compiles for a launch: types, constants, and which arguments are multiples of 16."""
    from triton.compiler import ASTSource

    values = {**dict(zip(kernel.arg_names, args, strict=False)), **kwargs}
    signature, constants, attributes = {}, {}, {}
    for place, parameter in enumerate(kernel.params):
        value, free = values[parameter.name], parameter.do_not_specialize
        if parameter.is_constexpr or value is None or (type(value) is int and value == 1 and not free):
            signature[parameter.name], constants[(place,)] = "constexpr", value
            continue
        signature[parameter.name] = (
            TYPES[value.dtype] if isinstance(value, torch.Tensor) else "fp32" if isinstance(value, float) else "i32"
        )
        if isinstance(value, torch.Tensor) or (isinstance(value, int) and value % 16 == 0 and not free):
            attributes[(place,)] = [["tt.divisibility", 16]]
    return ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes)


def resources(cubin: bytes, path: Path) -> dict[str, int]:
    """Registers and bytes of local memory (STACK, LOCAL) of a thread, as NVIDIA's tool reads them from the binary."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    path.write_bytes(cubin)
    done = subprocess.run([tool, "-res-usage", path], capture_output=True, text=True, check=True)
    return {name: int(value) for name, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", done.stdout)}


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize(("channels", "side", "window", "dtype", "destination", "source"), [
    (320, 64, 2, torch.float16, "representative", "average"),
    (320, 64, 2, torch.float32, "random", "destination"),
    (320, 64, 16, torch.float16, "random", "average"),
    (640, 32, 8, torch.bfloat16, "least", "destination"),
    (1280, 16, 16, torch.float32, "representative", "destination"),
    (320, 64, 64, torch.float16, "representative", "destination"),
    (40, (1, 77), 2, torch.float16, "representative", "average"),
    (1, (77, 1), 3, torch.float32, "random", "destination"),
    (130, (3, 5), 16, torch.bfloat16, "least", "destination"),
    (320, (33, 50), 8, torch.float16, "representative", "average"),
    (8, (1, 300), 300, torch.float16, "least", "average"),
])  # fmt: skip
def test_kernels_compile_ahead_of_time(
    capability, channels, side, window, dtype, destination, source, monkeypatch, tmp_path
):
    from triton.backends.compiler import GPUTarget

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    grid = side if isinstance(side, tuple) else (side, side)
    launches = recorded(monkeypatch, channels, grid, window, dtype, destination, source)
    assert len(launches) == (4 if tile(grid, window)[0].size > 256 else 3)
    for kernel, args, kwargs in launches:
        options = {"num_warps": kwargs.pop("num_warps", 4), "enable_fp_fusion": True}
        target = GPUTarget("cuda", capability, 32)
        compiled = triton.compile(as_source(kernel, args, kwargs), target=target, options=options)
        assert f".target sm_{capability}" in compiled.asm["ptx"]
        assert not re.search(r"\b(atom|red)\.(global|shared)", compiled.asm["ptx"])
        # loads past the coherent cache would miss what other threads of the program stored
        assert ".nc" not in compiled.asm["ptx"]
        assert compiled.metadata.shared <= 48 * 1024
        used = resources(compiled.asm["cubin"], tmp_path / "kernel.cubin")
        assert used["STACK"] + used["LOCAL"] <= SPILLED, (kernel.__name__, used)
        # as many threads as it is launched with fit into the 65,536 registers of a processor
        assert used["REG"] * 32 * options["num_warps"] <= 65536


@pytest.mark.parametrize(
    ("window", "destination"),
    [(2, "representative"), (16, "random"), pytest.param(20, "least", marks=pytest.mark.slow)],
)
def test_dynamo_traces_a_site_of_kernels_as_one_graph(window, destination, monkeypatch):
    """Fake CUDA tensors are traced and no kernel runs, so graph breaks are found without a GPU."""
    monkeypatch.setattr("torch.utils._triton.has_triton", lambda *_, **__: True)
    torch.compiler.reset()

    def site(x, seeds):
        options = {"window": window, "ratio": 0.5, "destination": destination, "seeds": seeds, "step": 3}
        plan = retom.merge_plan(x, (20, 20), backend="triton", **options)
        return plan.unmerge(plan.merge(x))

    counter = Counter()
    with fake_gpu() as device, torch.no_grad():
        x = torch.randn(2, 400, 40, device=device, dtype=torch.float16)
        seeds = torch.zeros(2, dtype=torch.int64, device=device)
        out = torch.compile(site, fullgraph=True, backend=counter)(x, seeds)
    assert (out.shape, out.dtype, out.device.type) == (x.shape, x.dtype, "cuda")
    assert counter.graphs == 1

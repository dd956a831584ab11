"""The tests in which rounding decides, under every lower instruction level of this processor: `make test-levels`.

`make test-levels LEVELS=AVX2` runs one of them, as CI does: AVX2 is what processors without AVX-512 have today.

A level stands in for another processor. Three libraries choose their code by the processor, so three variables are set
together, before the tests start. The processor's own level is left to `make test`.
"""

import os
import subprocess
import sys

import torch

VARIABLES = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")
LEVELS = {  # by torch's name for it, from the lowest on
    "DEFAULT": ("default", "SSE41", "SSE4_2"),
    "AVX2": ("avx2", "AVX2", "AVX2"),
    "AVX512": ("avx512", "AVX512_CORE", "AVX512"),
}
LEFT_OUT = (
    "compil",
    "dynamic_",
    "retom_fixed",
    "tomesd_adaptive",
    "tomesd_every",
)  # slow, or other options of one method
TESTS = (
    "tests/scripts/test_independence.py",
    "tests/eval/generation/test_generate.py",
    "tests/retom/plans/test_plan.py",
    "tests/retom/plans/test_dense.py",
    "tests/retom/plans/test_representative.py",
    "tests/retom/test_rng.py",
    "tests/retom/plans/test_similarity.py",
    "tests/baselines/test_atc.py",
    "tests/baselines/test_ca_tome.py",
    "tests/baselines/test_ibtm.py",
    "tests/baselines/test_sito.py",
    "tests/baselines/test_todo.py",
    "tests/baselines/test_tofu.py",
    "tests/baselines/test_toma.py",
    "tests/baselines/test_tomesd.py",
    "tests/baselines/test_tomesd_package.py",
)


def main() -> int:
    """Run `TESTS` under each lower level, or those named. Returns 1 where a test fails or a level cannot be set."""
    named = sys.argv[1:]
    if unknown := [name for name in named if name not in LEVELS]:
        print(f"error: LEVELS names {unknown[0]!r}; there are {', '.join(LEVELS)}")
        return 1
    native = torch.backends.cpu.get_cpu_capability()
    if native not in LEVELS:
        print(f"torch runs {native} code on this processor, which has no levels to choose from")
        return 0
    lower = [name for name in list(LEVELS)[: list(LEVELS).index(native)] if not named or name in named]
    print(
        f"this processor: {native}, which `make test` runs under; lower levels: {', '.join(lower) or 'none'}",
        flush=True,
    )
    return max((_test(level) for level in lower), default=0)


def _test(level: str) -> int:
    settings = dict(zip(VARIABLES, LEVELS[level], strict=True))
    print(" ".join(f"{name}={value}" for name, value in settings.items()), flush=True)
    environment = os.environ | settings
    ask = "import torch; print(torch.backends.cpu.get_cpu_capability())"
    found = subprocess.run(
        [sys.executable, "-c", ask], env=environment, capture_output=True, text=True, check=True
    ).stdout
    if found.strip() != level:
        print(f"error: torch runs {found.strip()} code although {level} was asked for")
        return 1
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-n",
        "2",
        "-m",
        "not slow",
        "-k",
        f"not ({' or '.join(LEFT_OUT)})",
        *TESTS,
    ]
    return int(subprocess.run(command, env=environment).returncode != 0)


if __name__ == "__main__":
    sys.exit(main())

"""What the tests of downloads share: repositories made once, a hub that serves them, machines with their own caches."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub import repositories
from tests.hub.server import Fault, Hub, serving

ROOT = Path(__file__).parents[2]
UNSET = (
    "HF_HUB_OFFLINE",
    "HF_DATASETS_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "HF_TOKEN",
    "HF_HUB_CACHE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
)


class Machine:
    """A machine with an empty cache. Every call is a process of its own: libraries read HF_HOME when imported."""

    def __init__(self, home: Path, hub: Hub) -> None:
        self.home = home
        kept = {key: value for key, value in os.environ.items() if key.upper() not in UNSET}
        own = {"HF_HOME": str(home / "hf"), "RETOM_CACHE": str(home / "retom"), "HF_ENDPOINT": hub.address}
        self.environment = (
            kept | own | {"NO_PROXY": "127.0.0.1,localhost", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        )

    def python(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        """Run Python with these arguments in the machine's home; output and errors as text."""
        return subprocess.run(
            [sys.executable, *arguments],
            env=self.environment | environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def blobs(self) -> list[Path]:
        """The large files in the hub's cache."""
        return [path for path in self.home.glob("hf/hub/*/blobs/*") if len(path.name) == 64]

    def partial(self) -> list[Path]:
        """What has come of large files that are not complete."""
        return sorted(self.home.glob("hf/hub/*/blobs/*.incomplete"))


@pytest.fixture(scope="session")
def small_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every repository but the CLIPs, which are large."""
    root = tmp_path_factory.mktemp("hub")
    for make in (repositories.sd15, repositories.sdxl, repositories.sd3, repositories.pixart, repositories.imagenet):
        make(root)
    return root


@pytest.fixture
def hub(small_root: Path) -> Iterator[Hub]:
    """A hub without faults."""
    with serving(small_root) as hub:
        hub.fault = Fault(times=0)
        yield hub


@pytest.fixture
def machine(hub: Hub, tmp_path: Path) -> Machine:
    """A machine that reaches `hub`."""
    return Machine(tmp_path, hub)

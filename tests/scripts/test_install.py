"""`make install` in an empty folder, with empty packages of the right names: which build of torch is installed."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
BACKEND = """
import zipfile
def build_editable(folder, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(f"{folder}/demo-1-py3-none-any.whl", "w") as wheel:
        needs = "Requires-Dist: torch\\nRequires-Dist: torchvision\\n"
        extras = "".join(f"Provides-Extra: {name}\\n" for name in ("bench", "dev", "docs", "package"))
        head = "Metadata-Version: 2.1\\nName: demo\\nVersion: 1\\n"
        wheel.writestr("demo-1.dist-info/METADATA", head + extras + needs)
        wheel.writestr("demo-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("demo-1.dist-info/RECORD", "")
    return "demo-1-py3-none-any.whl"
"""


def empty_package(folder: Path, name: str, version: str) -> None:
    """A wheel of `name` that installs nothing but its metadata, and the page of an index that lists it."""
    where, file = f"{name}-{version}.dist-info", f"{name}-{version}-py3-none-any.whl"
    folder.mkdir(parents=True)
    (folder / "index.html").write_text(f'<!DOCTYPE html><a href="{file.replace("+", "%2B")}">{file}</a>')
    with zipfile.ZipFile(folder / file, "w") as wheel:
        wheel.writestr(f"{where}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{where}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{where}/RECORD", "")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with this Makefile and pins; plain builds are found by pip, CPU builds in the index `cpu`."""
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "constraints.txt").write_text("torch==1.5\ntorchmetrics==9.9\ntorchvision==2.5\n")
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "backend.py").write_text(BACKEND)
    for name, version in (("torch", "1.5"), ("torchvision", "2.5")):
        empty_package(tmp_path / "plain" / name, name, version)
        empty_package(tmp_path / "cpu" / name, name, f"{version}+cpu")
    return folder


def install(project: Path, *arguments: str) -> subprocess.CompletedProcess:
    around = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHONPATH"))}
    around |= {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": (project.parent / "plain").as_uri()}
    command = ["make", "install", f"PYTHON={sys.executable}", *arguments]
    return subprocess.run(command, cwd=project, env=around, capture_output=True, text=True, check=False)


def torch_builds(project: Path) -> list[str]:
    folders = (project / ".venv").glob("lib/python*/site-packages/torch*.dist-info")
    return sorted(path.name.removesuffix(".dist-info") for path in folders)


def test_the_cpu_builds_of_the_pinned_versions_are_installed(project: Path) -> None:
    index = f"INDEX={(project.parent / 'cpu').as_uri()}"
    done = install(project, "TORCH=cpu", index)
    assert done.returncode == 0, done.stderr
    assert torch_builds(project) == ["torch-1.5+cpu", "torchvision-2.5+cpu"]
    assert install(project).returncode == 0  # it stays the CPU build
    assert "run make clean-venv first" in install(project, "TORCH=").stderr
    os.utime(project / "constraints.txt", (2**32, 2**32))
    assert install(project, index).returncode == 0  # also when the pins change
    assert torch_builds(project) == ["torch-1.5+cpu", "torchvision-2.5+cpu"]


def test_without_their_index_it_says_what_to_pass_and_leaves_nothing(project: Path) -> None:
    done = install(project, "TORCH=cpu")
    assert done.returncode != 0
    assert "error: pip did not install torch==1.5+cpu torchvision==2.5+cpu" in done.stderr
    assert "make install TORCH=cpu INDEX=<address>" in done.stderr
    assert not (project / ".venv").exists()
    assert install(project).returncode == 0
    assert torch_builds(project) == ["torch-1.5", "torchvision-2.5"]
    assert "run make clean-venv first" in install(project, "TORCH=cpu").stderr
    assert install(project, "TORCH=cpu").returncode != 0


def test_another_build_is_refused(project: Path) -> None:
    assert "error: TORCH must be cpu or empty, got cuda" in install(project, "TORCH=cuda").stderr

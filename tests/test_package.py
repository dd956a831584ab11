"""The package: what the wheel and the sdist contain, and whether an installed wheel works without the checkout.

The tests marked slow build both from the files of this checkout and install the wheel, without its dependencies, into a
new environment. That environment finds torch, diffusers and what they require among the packages installed here, and
every other package is hidden from it. The tests therefore show that the wheel is complete and needs nothing else. They
download nothing, so they do not show which versions a package index would resolve.
"""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import retom

ROOT = Path(__file__).parents[1]
USE = """
import importlib, importlib.util, json, pkgutil, sys
from importlib.machinery import PathFinder

HIDDEN = set(json.loads(sys.argv[1]))

class Visible:
    find_distributions = PathFinder.find_distributions

    def find_spec(name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Visible
import torch, retom, retom.testing
from diffusers import UNet2DConditionModel

for module in pkgutil.walk_packages(retom.__path__, "retom."):
    importlib.import_module(module.name)
unet = UNet2DConditionModel(**retom.testing.UNET).eval()
sample, text = torch.randn(2, 4, 16, 16), torch.randn(2, 7, 32)
with torch.no_grad():
    before = unet(sample, 1.0, encoder_hidden_states=text).sample
    sites = retom.apply_patch(unet, ratio=0.5)
    merged = unet(sample, 1.0, encoder_hidden_states=text).sample
    report = retom.report(unet)
    retom.remove_patch(unet)
    after = unet(sample, 1.0, encoder_hidden_states=text).sample
retom.testing.check_method(retom.ReToM())
print(json.dumps({
    "file": retom.__file__,
    "version": retom.__version__,
    "sites": sites,
    "tokens": [(site["tokens"], site["merged"]) for site in report],
    "changed": not torch.equal(before, merged),
    "restored": torch.equal(before, after),
    "harness": [name for name in ("eval", "baselines", "hydra", "sklearn") if importlib.util.find_spec(name)],
}))
"""
SCRIPT = """import retom
from torch import Tensor

def count(model: object, x: Tensor) -> int:
    plan = retom.merge_plan(x, (8, 8), window=2, ratio=0.5)
    return retom.apply_patch(model, retom.ReToM(ratio={ratio})) + plan.num_merged
"""


def test_version_and_abstract_agree_in_every_file() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "retom.__version__"}
    assert citation["version"] == retom.__version__
    assert [author["name"] for author in citation["authors"]] == [it["name"] for it in project["project"]["authors"]]
    assert project["project"]["urls"]["Paper"] == citation["preferred-citation"]["url"]


def test_the_library_is_checked_strictly() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    assert tool["mypy"]["strict"]
    assert tool["mypy"]["files"] == ["retom"]
    assert (ROOT / "retom" / "py.typed").read_text() == ""
    ignored = [path for path in (ROOT / "retom").rglob("*.py") if "type: ignore" in path.read_text(encoding="utf-8")]
    assert not ignored


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess:
    """Run a command without the settings of Python and pip, in the environment or in files."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
    environment["PIP_CONFIG_FILE"] = os.devnull
    return subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=600
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The folder with the sdist and the wheel, built from a copy of the files that git knows or would add."""
    folder = tmp_path_factory.mktemp("package")
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    assert listed.returncode == 0, listed.stderr
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / "source" / name)
    made = run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", "source", cwd=folder)
    assert made.returncode == 0, made.stdout + made.stderr
    return folder / "dist"


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Path:
    """The Python of a new environment with the wheel alone, which also finds the packages of this environment.

    pip gets no dependencies, no index and no configuration, so the wheel is all that it can install. The packages of
    this environment are found through a .pth file that is written afterwards. There are no links to them: pip would
    write through a link.
    """
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    result = run(
        sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=folder
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    (site,) = folder.glob("lib/python*/site-packages")
    assert [path.name for path in site.glob("*.dist-info")] == [f"retom-{retom.__version__}.dist-info"]
    found = [path for path in sys.path if Path(path).name == "site-packages"]
    (site / "environment.pth").write_text("\n".join(found))
    return python


def hidden() -> list[str]:
    """The modules of this environment that retom does not require, directly or indirectly."""
    needed = {"retom", *required("torch", "diffusers")}
    modules = importlib.metadata.packages_distributions()
    return [name for name, owners in modules.items() if not needed & {normal(owner) for owner in owners}]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def required(*names: str) -> dict[str, importlib.metadata.Distribution]:
    """The distributions that these require, directly or not, without extras, and these."""
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = list(names)
    while waiting:
        name = normal(waiting.pop())
        if name in found:
            continue
        found[name] = importlib.metadata.distribution(name)
        requirements = [Requirement(line) for line in found[name].requires or ()]
        waiting += [it.name for it in requirements if it.marker is None or it.marker.evaluate({"extra": ""})]
    return found


@pytest.mark.slow
def test_twine_accepts_both_files(built) -> None:
    assert sorted(path.suffix for path in built.iterdir()) == [".gz", ".whl"]
    checked = run(sys.executable, "-m", "twine", "check", "--strict", *built.iterdir(), cwd=built)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.slow
def test_the_wheel_has_every_file_of_the_library_and_no_other(built) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        (metadata,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA"))
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "retom").rglob("*.py")}
    assert names == {*sources, "retom/py.typed"}
    fields = Parser().parsestr(metadata)
    needed = [Requirement(line) for line in fields.get_all("Requires-Dist")]
    assert {it.name for it in needed if it.marker is None} == {"torch", "diffusers"}
    assert fields["Version"] == retom.__version__
    assert fields["Description-Content-Type"] == "text/markdown"
    assert "Typing :: Typed" in fields.get_all("Classifier")


@pytest.mark.slow
def test_the_sdist_has_the_library_alone(built) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        tops = {Path(name).parts[1] for name in archive.getnames() if len(Path(name).parts) > 1}
    files = {"LICENSE", "MANIFEST.in", "PKG-INFO", "README.md", "pyproject.toml", "setup.cfg"}
    assert tops == {*files, "retom", "retom.egg-info"}


@pytest.mark.slow
def test_the_installed_wheel_merges_on_its_own(installed, tmp_path) -> None:
    used = run(installed, "-I", "-B", "-c", USE, json.dumps(hidden()), cwd=tmp_path)
    assert used.returncode == 0, used.stderr
    found = json.loads(used.stdout.splitlines()[-1])
    assert Path(found["file"]).is_relative_to(installed.parents[1])
    assert found["version"] == retom.__version__
    assert found["sites"] == len(found["tokens"]) == 1
    assert all(merged < tokens for tokens, merged in found["tokens"])
    assert found["changed"]
    assert found["restored"]
    assert found["harness"] == []


@pytest.mark.slow
def test_mypy_sees_the_types_of_the_installed_wheel(installed, tmp_path) -> None:
    command = (sys.executable, "-m", "mypy", "--strict", "--python-executable", installed, "--cache-dir", "cache")
    (tmp_path / "right.py").write_text(SCRIPT.format(ratio="0.5"))
    (tmp_path / "wrong.py").write_text(SCRIPT.format(ratio="'half'"))
    right = run(*command, "right.py", cwd=tmp_path)
    assert right.returncode == 0, right.stdout + right.stderr
    wrong = run(*command, "wrong.py", cwd=tmp_path)
    assert wrong.returncode == 1, wrong.stdout + wrong.stderr
    assert 'Argument "ratio" to "ReToM" has incompatible type "str"; expected "float"' in wrong.stdout

"""The real run, rehearsed: `scripts.run` with the real metrics on networks from a hub, cut, slow, gated and offline."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub import repositories
from tests.hub.conftest import Machine
from tests.hub.server import TOKEN, Fault, Hub, serving

pytestmark = pytest.mark.hub
DEVICE = ("sampler.device=cpu", "sampler.dtype=float32", "sampler.batch_size=1")
SMALL = (*DEVICE, "sampler.height=64", "sampler.width=64", "sampler.steps=2", "timing=off")
ONE = ("prompts.classes=[n01440764]", "prompts.images_per_class=1", "bootstrap.replicates=4")
MODEL = ("metrics=none",)
REAL = ("reference=imagenet_hub", "reference.per_class=2")
NOISE = ("Traceback", "HTTP Request", "initialized randomly", "it/s]", "Parsing", "Generating")


class Rehearsal:
    """A hub with everything the real run fetches, and a machine that keeps its cache from test to test."""

    def __init__(self, home: Path, hub: Hub, inceptions: dict[str, str]) -> None:
        self.hub, self.machine = hub, Machine(home, hub)
        self.machine.environment |= inceptions | {"HUB_PLAIN": f"{hub.address}/plain"}

    def run(self, *choices: str, status: int = 0, **environment: str) -> str:
        """What a run with these choices says; none of it is noise."""
        ran = self.machine.python("-m", "tests.hub.command", "run", *SMALL, *ONE, *choices, **environment)
        said = ran.stdout + ran.stderr
        assert ran.returncode == status, said
        assert not [word for word in NOISE if word in said], said
        return said

    def records(self) -> list[dict]:
        return [json.loads(path.read_text()) for path in self.machine.home.glob("results/runs/*/*/record.json")]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    root = tmp_path_factory.mktemp("real_hub")
    for make in (repositories.sd15, repositories.imagenet, repositories.both_clips):
        make(root)
    inceptions = repositories.inceptions(root)
    with serving(root) as hub:
        yield Rehearsal(tmp_path_factory.mktemp("machine"), hub, inceptions)


@pytest.fixture
def rehearsal(shared: Rehearsal) -> Rehearsal:
    """The shared one, without faults."""
    shared.hub.fault = Fault(times=0)
    shared.hub.requests.clear()
    return shared


@pytest.fixture
def models(hub: Hub, tmp_path: Path) -> Rehearsal:
    """An empty machine and the small repositories."""
    return Rehearsal(tmp_path, hub, {"CLEAN_INCEPTION": "0" * 64, "PYTORCH_INCEPTION": "0" * 64})


class TestRealRun:
    """In this order: a dry run, what stops a run at once, the run itself, the same offline, and damage."""

    def test_a_dry_run_names_every_download_with_its_size_and_fetches_nothing(self, rehearsal: Rehearsal) -> None:
        output = rehearsal.run("model=sd15", *REAL, "--dry-run", status=1, HF_TOKEN=TOKEN)
        missing = [line for line in output.splitlines() if line.startswith("missing: ")]
        assert len(missing) == 6
        assert all(re.search(r"\(\d+(\.\d+)? (KiB|MiB)\)$", line) for line in missing), missing
        assert "timed with random weights, as the model's are not on this machine: 1 rows" in output
        assert rehearsal.hub.bytes_sent == 0
        assert not list(rehearsal.machine.home.glob("hf/hub/*/snapshots"))

    def test_a_mistake_is_reported_before_anything_is_asked(self, rehearsal: Rehearsal) -> None:
        choices = ("model=sd15", "reference=imagenet_folder", "reference.path=/mistyped", "sampler.device=cuda")
        output = rehearsal.run(*choices, status=1)
        assert "2 things are missing: (1) device=cuda" in output
        assert "(2) reference folder /mistyped does not exist" in output
        assert not rehearsal.hub.requests

    def test_all_that_cannot_be_had_is_named_at_once(self, rehearsal: Rehearsal) -> None:
        output = rehearsal.run("model=sd3", *REAL, status=1)
        assert "2 things are missing: (1) reference ILSVRC/imagenet-1k cannot be downloaded" in output
        assert "(2) model sd3: cannot get stabilityai/" in output
        assert rehearsal.hub.bytes_sent == 0

    def test_a_run_whose_downloads_are_cut_and_slow(self, rehearsal: Rehearsal) -> None:
        rehearsal.hub.fault = Fault(where="/store/models/timm/vit_large", cut=500_000_000, times=3, wait=0.5)
        before = rehearsal.hub.bytes_sent
        output = rehearsal.run("model=sd15", *REAL, HF_TOKEN=TOKEN)
        assert "the connection was lost" in output
        assert "open_clip_model.safetensors: resuming at 476.8 MiB of" in output
        (record,) = rehearsal.records()
        assert record["status"] == "ok"
        assert isinstance(record["metrics"]["clip_vitl14"]["value"], float)
        kept = sum(path.stat().st_size for path in rehearsal.machine.home.glob("*/**/*") if self.downloaded(path))
        assert rehearsal.hub.bytes_sent - before == kept

    @staticmethod
    def downloaded(path: Path) -> bool:
        return (
            path.is_file() and not path.is_symlink() and (path.parent.name == "blobs" or path.suffix in (".pt", ".pth"))
        )

    def test_the_same_offline(self, rehearsal: Rehearsal) -> None:
        rehearsal.run("model=sd15", *REAL, "method=none", HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
        assert len(rehearsal.records()) == 2
        assert not rehearsal.hub.requests

    @pytest.mark.parametrize("name", ["vit_base", "unet"])
    def test_a_flipped_byte_in_a_cached_network(self, rehearsal: Rehearsal, name: str) -> None:
        (link,) = [
            path for path in rehearsal.machine.home.glob("hf/hub/*/snapshots/**/*.safetensors") if name in str(path)
        ]
        blob = link.resolve()
        flip_last(blob)
        output = rehearsal.run("model=sd15", *REAL, "method=retom_random", status=1, HF_HUB_OFFLINE="1")
        flip_last(blob)
        assert f"delete {blob} and run again" in output


def flip_last(path: Path) -> None:
    """Change a bit of the last byte, or change it back."""
    with path.open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))


@pytest.mark.parametrize("name", ["sdxl", "pixart", "sd3"])
def test_a_model_from_the_hub_runs_and_runs_again_offline(models: Rehearsal, name: str) -> None:
    if name == "sd3":
        output = models.run(f"model={name}", *MODEL, status=1)
        assert "the repository is gated and there is no access token" in output
    models.hub.fault = Fault(where="/store/", cut=200_000, times=3, reset=name == "sdxl", wait=0.2)
    models.run(f"model={name}", *MODEL, HF_TOKEN=TOKEN)
    models.hub.requests.clear()
    models.run(f"model={name}", *MODEL, "method=none", HF_HUB_OFFLINE="1")
    assert [record["status"] for record in models.records()] == ["ok", "ok"]
    assert not models.hub.requests


def test_a_dry_run_leaves_what_an_interrupted_download_left(models: Rehearsal) -> None:
    models.hub.fault = Fault(where="/store/", cut=300_000, times=1)
    models.machine.python("-c", GIVEN_UP)
    (left,) = models.machine.partial()
    models.hub.fault, models.hub.bytes_sent = Fault(times=0), 0
    output = models.run("model=sd15", *MODEL, "--dry-run", "sampler.device=cuda", status=1)
    assert re.search(r"missing: the weights of model sd15 are not on this machine; .* \(10\.\d MiB\)", output)
    output = models.run("model=sd15", *MODEL, "--dry-run", "sampler.device=cuda", status=1, HF_HUB_OFFLINE="1")
    assert "(size not known: offline)" in output
    assert models.hub.bytes_sent == 0
    assert left.stat().st_size == 300_000


GIVEN_UP = """
import runpy, sys
from eval.downloads import fetching
fetching.WAITS = ()
sys.argv = ["ask", "model", "sd15"]
runpy.run_module("tests.hub.ask", run_name="__main__")
"""

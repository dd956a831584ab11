"""Models, weight files and references from a hub: what is fetched, what is enough offline, what a failure is called."""

import re
import shutil
from pathlib import Path

import pytest

from tests.hub.conftest import Machine
from tests.hub.server import TOKEN, Fault, Hub

SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
VAE = "vae/diffusion_pytorch_model.safetensors"
UNET = "unet/diffusion_pytorch_model.safetensors"


def ask(machine: Machine, *arguments: str, **environment: str) -> str:
    """What `tests.hub.ask` prints, a single line, with nothing else said but progress."""
    asked = machine.python("-m", "tests.hub.ask", *arguments, **environment)
    assert "Traceback" not in asked.stderr, asked.stderr
    assert "HTTP Request" not in asked.stderr
    (line,) = asked.stdout.splitlines()
    return line


def files_of(folder: str) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()}


def test_what_is_loaded_is_fetched_and_nothing_else(machine: Machine, hub: Hub):
    got = files_of(ask(machine, "model", "sd15"))
    assert {name for name in got if name.endswith(".safetensors")} == {
        UNET,
        VAE,
        "text_encoder/model.safetensors",
    }
    assert {"model_index.json", "tokenizer/tokenizer.json", "scheduler/scheduler_config.json"} <= got
    assert not any(word in path for path in hub.requests for word in (".bin", "fp16", "non_ema", "safety", "pruned"))


@pytest.mark.parametrize("name", ["sdxl", "pixart"])
def test_every_component_and_shard_is_fetched(machine: Machine, hub: Hub, name: str):
    got = files_of(ask(machine, "model", name))
    index = [path for path in got if path.endswith("index.json")]
    assert (len(index) > 1) == (name == "pixart")  # in shards
    assert not any("vae_1_0" in path or "onnx" in path for path in got)
    assert "vae/config.json" in got


def test_the_second_time_nothing_is_asked_and_offline_is_the_same(machine: Machine, hub: Hub):
    first = ask(machine, "model", "sd15")
    hub.requests.clear()
    assert ask(machine, "model", "sd15") == first
    assert ask(machine, "model", "sd15", HF_HUB_OFFLINE="1") == first
    assert not hub.requests


def test_a_cut_download_goes_on(machine: Machine, hub: Hub):
    hub.fault = Fault(where="/store/", cut=4_000_000)
    folder = ask(machine, "file", SD15, UNET)
    assert hub.bytes_sent == Path(folder).stat().st_size
    assert machine.partial() == []


def test_a_download_that_was_given_up_is_resumed_and_counts_as_missing_until_then(machine: Machine, hub: Hub):
    hub.fault = Fault(where=f"store/models/{SD15}/files/{UNET}", cut=3_000_000, times=1)
    half = machine.python("-c", GIVEN_UP)
    assert half.returncode == 1, half.stderr
    (left,) = machine.partial()
    assert left.stat().st_size == 3_000_000
    before = hub.bytes_sent
    assert ask(machine, "model", "sd15", "cached") == "None"
    assert hub.bytes_sent == before
    hub.fault = Fault(times=0)
    folder = ask(machine, "model", "sd15")
    rest = sum((Path(folder) / name).stat().st_size for name in (UNET, VAE))
    assert hub.bytes_sent - before == rest - 3_000_000


GIVEN_UP = """
import sys
from eval.downloads import fetching
fetching.WAITS = ()
import runpy
sys.argv = ["ask", "model", "sd15"]
runpy.run_module("tests.hub.ask", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("name", "fault", "environment", "cause", "remedy"),
    [
        (
            "sd3",
            {},
            {},
            "is gated and there is no access token",
            r"accept its terms at .*/stabilityai/.* `hf auth login`",
        ),
        ("sd3", {}, {"HF_TOKEN": "hf_mistyped"}, r"rejects the access token \(401\)", "correct or unset HF_TOKEN"),
        ("sd15", {}, {"HF_TOKEN": "hf_mistyped"}, r"rejects the access token \(401\)", "correct or unset HF_TOKEN"),
        ("sd35_large", {}, {}, "the hub has no such repository", "log in with `hf auth login` if it is private"),
        ("sd35_large", {}, {"HF_TOKEN": TOKEN}, "the hub has no such repository", "check its name, or"),
        ("sd15", {"portal": "page"}, {}, "a web page instead", "log in to the network"),
        ("sd15", {"portal": "redirect"}, {}, "a web page instead", "log in to the network"),
        ("sd15", {"where": "/store/", "portal": "page"}, {}, "a web page instead", "log in to the network"),
        ("sd15", {"status": 511}, {}, "a web page instead", "log in to the network"),
        ("sd15", {"status": 503}, {}, "the server answers 503 Service Unavailable", "wait a while"),
        ("sd15", {"where": "/store/", "flip": True}, {}, "the downloaded file has sha256", "start over"),
        ("sd15", {"where": "/store/", "short": 5}, {}, "reports .* bytes, expected", "start over"),
        ("sd15", {}, {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set", "unset it on a machine with a network"),
        ("sd15", {}, {"TRANSFORMERS_OFFLINE": "1"}, "TRANSFORMERS_OFFLINE is set", "unset it"),
        ("sd15", {}, {"HF_ENDPOINT": "http://127.0.0.1:9"}, "the connection was refused", "resumes the download"),
        ("sd15", {}, {"HF_ENDPOINT": "http://no.invalid"}, "name cannot be resolved", "resumes the download"),
    ],
)
def test_every_failure_has_its_own_line(machine: Machine, hub: Hub, name, fault, environment, cause, remedy):
    hub.fault = Fault(**fault) if fault else Fault(times=0)
    line = ask(machine, "model", name, **environment)
    assert re.match(rf"error: model {name}: cannot get .* \(.*{cause}.*\); .*{remedy}", line), line
    assert line.endswith("copy the pipeline's folder to this machine and set model.path=FOLDER")


def test_access_that_was_not_granted(machine: Machine, hub: Hub):
    about = hub.root / "models" / "stabilityai" / "stable-diffusion-3-medium-diffusers" / "about.json"
    before = about.read_text()
    about.write_text(before.replace('"auto"', '"refused"'))
    try:
        line = ask(machine, "model", "sd3", HF_TOKEN=TOKEN)
    finally:
        about.write_text(before)
    assert re.search(r"\(the repository is gated and this account has no access \(403\)\); accept its terms at", line)


def test_a_revision_and_a_file_that_do_not_exist(machine: Machine):
    line = ask(machine, "file", SD15, UNET, "locate", "no-such-branch")
    assert line.endswith("set its path (the metric's weights.path)")
    assert "the repository has no such revision" in line
    line = ask(machine, "file", SD15, "nothing.safetensors")
    assert line == (
        f"error: weights nothing.safetensors of {SD15} (model hub, revision main) are not cached and cannot be "
        "downloaded (it is not in the repository); check its name"
    )


def test_the_size_is_reported_and_nothing_is_fetched(machine: Machine, hub: Hub):
    size = int(ask(machine, "model", "sd15", "size"))
    assert hub.bytes_sent == 0
    folder = ask(machine, "model", "sd15")
    assert size == sum((Path(folder) / name).stat().st_size for name in files_of(folder))
    assert ask(machine, "model", "sd15", "size") == "0"


@pytest.mark.parametrize("gone", [UNET, "tokenizer/tokenizer.json", "model_index.json", "vae/config.json"])
def test_a_snapshot_that_lacks_a_file_is_not_complete(machine: Machine, hub: Hub, gone: str):
    folder = ask(machine, "model", "sd15")
    (Path(folder) / gone).resolve().unlink()  # the link to it is left
    assert ask(machine, "model", "sd15", "cached") == "None"
    assert ask(machine, "model", "sd15") == folder
    assert (Path(folder) / gone).is_file()


def test_shards_that_lack_one_are_not_complete_without_a_listing(machine: Machine, hub: Hub):
    folder = Path(ask(machine, "model", "pixart"))
    shutil.rmtree(folder.parents[1] / "trees")  # as left by older versions of huggingface_hub
    assert ask(machine, "model", "pixart", "cached") == str(folder)
    sorted(folder.glob("*/*-of-*.safetensors"))[1].unlink()
    assert ask(machine, "model", "pixart", "cached") == "None"


@pytest.mark.hub
def test_the_reference_once_fetched_needs_no_network(machine: Machine, hub: Hub):
    assert "HF_DATASETS_OFFLINE is set and not everything" in ask(machine, "reference", HF_DATASETS_OFFLINE="1")
    assert "gated and there is no access token" in ask(machine, "reference")
    assert ask(machine, "reference", HF_TOKEN=TOKEN) == "12 of 3, first b'\\xff\\xd8'"
    assert not any("train-" in path for path in hub.requests)
    hub.requests.clear()
    shutil.rmtree(machine.home / "hf" / "datasets")  # on a compute node the converted copy is made again
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    assert ask(machine, "reference", **offline) == "12 of 3, first b'\\xff\\xd8'"
    assert not hub.requests
    blob = flip(next((machine.home / "hf" / "hub").glob("datasets--*/snapshots/*/data/*")))
    assert f"delete {blob} and run again" in ask(machine, "reference")


def flip(path: Path) -> Path:
    """Change one byte in the middle of the file behind `path`; that file."""
    data = bytearray(path.resolve().read_bytes())
    data[len(data) // 2] ^= 1
    path.resolve().write_bytes(data)
    return path.resolve()


def test_a_damaged_file_of_the_cache_is_named(machine: Machine):
    path = Path(ask(machine, "file", SD15, UNET))
    assert ask(machine, "file", SD15, UNET, "digest") == path.resolve().name
    blob = flip(path)
    line = ask(machine, "file", SD15, UNET, "digest")
    assert re.search(rf"is damaged \(it has digest .*, expected {blob.name[:12]}\); delete {blob} and run again", line)


@pytest.mark.parametrize("name", [UNET, "scheduler/scheduler_config.json"])
def test_a_damaged_model_is_named_when_it_is_loaded(machine: Machine, name: str):
    blob = flip(Path(ask(machine, "model", "sd15")) / name)
    code = """
from eval.errors import RunError
from eval.generation.models.config import ModelConfig
from eval.generation.pipelines import load_pipeline, pipe_identity
from eval.generation.sampler import SamplerConfig
repo = "stable-diffusion-v1-5/stable-diffusion-v1-5"
model = ModelConfig("sd15", repo=repo, revision="451f4fe16113bff5a5d2269ed5ad43b0592e9a14")
sampler = SamplerConfig(steps=2, height=64, width=64)
try:
    pipe_identity(load_pipeline(model, sampler))
except RunError as error:
    print(error)
"""
    assert f"delete {blob} and run again" in machine.python("-c", code).stdout


def test_a_full_disk_is_noticed_before_anything_is_fetched(machine: Machine, hub: Hub):
    code = """
import shutil, sys, runpy
usage = shutil.disk_usage("/")
shutil.disk_usage = lambda _: usage._replace(free=2_000_000)
sys.argv = ["ask", "model", "sd15"]
runpy.run_module("tests.hub.ask", run_name="__main__")
"""
    printed = machine.python("-c", code).stdout
    assert re.search(
        r"10\.\d MiB are needed at .*models--stable-diffusion-v1-5.*, 1\.9 MiB are free; make room", printed
    )
    assert hub.bytes_sent < 10_000  # the index

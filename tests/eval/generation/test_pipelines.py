"""Loading: tiny, a saved folder as if it were the real model, and clear sentences for what cannot be had."""

import dataclasses

import numpy as np
import pytest
import torch

from eval.assets import folder_sha256
from eval.downloads.digests import file_sha256
from eval.errors import RunError
from eval.generation.calls import call_pipeline
from eval.generation.models.config import ModelConfig
from eval.generation.pipelines import load_pipeline, pipe_identity
from eval.generation.sampler import SamplerConfig

TINY = ModelConfig("tiny_random", kind="tiny")
SD15 = ModelConfig(
    "sd15",
    repo="stable-diffusion-v1-5/stable-diffusion-v1-5",
    revision="451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
)


def tiny_sampler(**options):
    return SamplerConfig(**{"steps": 2, "height": 64, "width": 64} | options)


def draw(pipe, sampler):
    return call_pipeline(pipe, ["a dog"], [3], sampler, output_type="np").images


@pytest.fixture(scope="module")
def saved(tiny_original, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    tiny_original.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_saved_folder_stands_for_the_real_model(saved, dtype):
    sampler = tiny_sampler(dtype=dtype)
    from_code, from_folder = load_pipeline(TINY, sampler), load_pipeline(ModelConfig("mine", path=str(saved)), sampler)
    assert from_folder.unet.dtype == from_folder.vae.dtype == from_folder.text_encoder.dtype == sampler.torch_dtype
    assert np.array_equal(draw(from_code, sampler), draw(from_folder, sampler))
    assert not from_folder.unet.training


def test_identity_of_a_folder_is_that_of_its_files(saved):
    one = pipe_identity(load_pipeline(ModelConfig("mine", path=str(saved)), tiny_sampler()))
    assert one["pipeline"] == "StableDiffusionPipeline"
    assert one["components"]["unet"] == "UNet2DConditionModel"
    assert one["weights_of"] == "files"
    assert "unet/diffusion_pytorch_model.safetensors" in one["weights"]
    assert {len(digest) for digest in one["weights"].values()} == {64}
    assert one["revision"] is None


def test_identity_of_random_weights_follows_the_seed():
    hashes = [pipe_identity(load_pipeline(ModelConfig("t", kind="tiny", seed=s), tiny_sampler())) for s in (0, 0, 1)]
    assert hashes[0] == hashes[1]
    assert hashes[0]["weights"]["unet"] != hashes[2]["weights"]["unet"]
    half = pipe_identity(load_pipeline(TINY, tiny_sampler(dtype="bfloat16")))
    assert half["weights"]["unet"] != hashes[0]["weights"]["unet"]


def test_a_snapshot_folder_tells_its_revision(tiny_original, tmp_path):
    folder = tmp_path / "models--me--mine" / "snapshots" / "0123abc"
    tiny_original.save_pretrained(folder)
    pipe = load_pipeline(ModelConfig("mine", path=str(folder)), tiny_sampler())
    assert pipe_identity(pipe)["revision"] == "0123abc"


def test_no_network_and_no_copy_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("diffusers.pipelines.pipeline_utils.DIFFUSERS_CACHE", str(tmp_path), raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(RunError) as caught:
        load_pipeline(SD15, tiny_sampler())
    message = str(caught.value)
    assert message.startswith("model sd15: cannot get stable-diffusion-v1-5/stable-diffusion-v1-5 at revision 451f4fe")
    assert message.endswith("model.path=FOLDER")
    assert "\n" not in message


def test_a_folder_without_a_pipeline_is_one_line(tmp_path):
    with pytest.raises(RunError, match=r"is not a diffusers pipeline folder \(no model_index.json in it\)"):
        load_pipeline(ModelConfig("mine", path=str(tmp_path)), tiny_sampler())


def test_pickled_weights_are_never_read(tiny_original, tmp_path):
    tiny_original.save_pretrained(tmp_path)
    file = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(tiny_original.unet.state_dict(), file.with_suffix(".bin"))
    file.unlink()
    with pytest.raises(RunError, match=r"cannot be loaded .* weights as safetensors"):
        load_pipeline(ModelConfig("mine", path=str(tmp_path)), tiny_sampler())


@pytest.fixture
def shipped(saved, monkeypatch):
    """The saved folder as if it came with the package."""
    monkeypatch.setattr("eval.generation.models.folders.ASSETS", saved.parent)
    return ModelConfig("mine", kind="shipped", path=saved.name, revision=folder_sha256(saved))


def test_a_shipped_folder_is_found_from_anywhere_without_a_word(shipped, saved, monkeypatch, tmp_path, capfd):
    monkeypatch.chdir(tmp_path)
    pipe = load_pipeline(shipped, tiny_sampler())
    assert pipe_identity(pipe)["weights"]["unet/diffusion_pytorch_model.safetensors"] == file_sha256(
        saved / "unet" / "diffusion_pytorch_model.safetensors"
    )
    assert capfd.readouterr() == ("", "")


def test_what_is_not_as_shipped_is_one_line(shipped, saved):
    gone = dataclasses.replace(shipped, path="gone")
    with pytest.raises(RunError, match=r"gone is not what this version ships \(it does not exist\); .*git checkout"):
        load_pipeline(gone, tiny_sampler())
    other = dataclasses.replace(shipped, revision="0" * 64)
    with pytest.raises(RunError, match=rf"have sha256 {shipped.revision[:12]}, expected 0{{12}}\).*model\.kind=hub"):
        load_pipeline(other, tiny_sampler())


def test_the_hash_of_a_folder_follows_names_and_bytes(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one").write_text("1")
    first = folder_sha256(tmp_path)
    (tmp_path / ".hidden").write_text("no part of it")
    assert folder_sha256(tmp_path) == first
    (tmp_path / "a" / "one").rename(tmp_path / "a" / "two")
    second = folder_sha256(tmp_path)
    (tmp_path / "a" / "two").write_text("2")
    assert len({first, second, folder_sha256(tmp_path)}) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "local"}, "model.kind must be one of hub, shipped, random, tiny, got 'local'"),
        ({"repo": "a/b"}, "needs repo and revision, or path, got repo='a/b', revision=None"),
        ({"kind": "shipped", "path": "tiny"}, "needs path and revision, got path='tiny', revision=None"),
        ({"kind": "random"}, r"model.architecture must be one of sd15, sd21, sdxl, pixart, .*, got None"),
        ({"kind": "tiny", "seed": -1}, r"model.seed must be an integer in \[0, 2\*\*32\), got -1"),
    ],
)
def test_bad_values_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig("mine", **options)

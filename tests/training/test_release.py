"""An export is what diffusers and transformers load, small enough to ship, and what its card says."""

import re

import pytest
import torch
from safetensors import safe_open

from eval.downloads.digests import file_sha256
from eval.errors import RunError
from eval.generation.calls import call_pipeline
from eval.generation.sampler import SamplerConfig
from eval.metrics.fid import moments
from training import evaluate
from training.data import to_signed
from training.publishing import export
from training.publishing.release import load, release

SAMPLER = SamplerConfig(scheduler="DDIMScheduler", steps=2, guidance=2.0, height=64, width=64, batch_size=5)


@pytest.fixture(scope="module")
def folder(trained):
    return release(trained, SAMPLER, per_class=5)


def test_the_pipeline_loads_and_draws(folder):
    pipe, classifier, clip = load(folder)
    images = call_pipeline(pipe, ["A high quality photograph of a goldfish."], [1], SAMPLER, output_type="pt").images
    assert images.shape == (1, 3, 64, 64)
    assert images.isfinite().all()
    assert pipe.scheduler.config.prediction_type == "v_prediction"
    assert (classifier.config.imagenet_indices, classifier.config.wnids) == ([1, 950], ["n01443537", "n07747607"])
    assert classifier.config.id2label == {0: "goldfish", 1: "orange"}
    for name, value in pipe.text_encoder.state_dict().items():
        assert torch.equal(value, clip.text_model.state_dict()[name]), name


def test_weights_are_float16_and_the_averaged_ones(folder, trained):
    expected = trained.trained("denoiser").state_dict()
    with safe_open(folder / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors", "pt") as stored:
        for name in stored.keys():  # noqa: SIM118 - a safetensors file is no mapping
            assert torch.equal(stored.get_tensor(name), expected[name].half()), name


def test_the_reference_is_of_the_held_out_images(folder, trained):
    _, classifier, _ = load(folder)
    with safe_open(folder / "reference.safetensors", "pt") as stored:
        tensors, metadata = (
            {name: stored.get_tensor(name) for name in ("mean", "covariance", "features")},
            stored.metadata(),
        )
    found = evaluate.features(classifier, to_signed(trained.val.pixels))
    torch.testing.assert_close(tensors["features"].float(), found, rtol=1e-3, atol=1e-3)
    again = moments(tensors["features"].double().numpy())
    torch.testing.assert_close(tensors["mean"], again.mean)
    torch.testing.assert_close(tensors["covariance"], again.covariance)
    assert metadata == {
        "n": "12",
        "pictures_sha256": trained.val.hash,
        "classifier_sha256": file_sha256(folder / "classifier" / "model.safetensors"),
    }


def test_the_card_names_every_file_with_its_hash(folder):
    text = (folder / "README.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `([^`]+)` \| \d+ \| `([0-9a-f]{64})` \|$", text, re.MULTILINE))
    names = [path.relative_to(folder).as_posix() for path in export.files(folder)]
    assert list(listed) == names
    assert all(file_sha256(folder / name) == digest for name, digest in listed.items())
    assert "| denoiser | 2 | 2 | 0.001 |" in text


def test_what_is_too_large_is_refused(tmp_path, monkeypatch):
    (tmp_path / "model.safetensors").write_bytes(b"12345")
    monkeypatch.setattr(export, "MAX_FILE", 4)
    with pytest.raises(RunError, match=r"model\.safetensors has 5 bytes, at most 4 can be shipped"):
        export.check_sizes(tmp_path)
    monkeypatch.setattr(export, "MAX_FILE", 5)
    monkeypatch.setattr(export, "MAX_TOTAL", 4)
    with pytest.raises(RunError, match="the export has 5 bytes, at most 4 can be shipped"):
        export.check_sizes(tmp_path)

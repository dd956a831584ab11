"""model=tiny as it is shipped: its files belong together, and what it draws is recognised."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ResNetForImageClassification

from eval.assets import ASSETS, folder_sha256
from eval.metrics.profiles import check_reference
from eval.reference.loading import load_reference
from scripts.jobs.row import read_row
from scripts.jobs.run_row import run_row
from tests.scripts.conftest import composed

TINY = ASSETS / "tiny"
CLASSES = "prompts.classes=[n01443537,n02279972,n04146614,n07747607,n07873807]"


@pytest.fixture
def row(tmp_path):
    overrides = ("model=tiny", "method=none", "timing=off", "bootstrap.replicates=8", f"results={tmp_path}")
    return lambda *more: read_row(*composed(*overrides, *more))


def test_the_revision_is_that_of_the_shipped_files(row):
    found = folder_sha256(TINY / "pipeline")
    assert row().model.revision == found, f"put revision: {found} into conf/model/tiny.yaml"


def test_prompts_and_classifier_are_of_the_same_classes(row):
    config = json.loads((TINY / "classifier" / "config.json").read_text())
    chosen = row().prompts.selected()
    assert [item.wnid for item in chosen] == config["wnids"]
    assert [item.index for item in chosen] == config["imagenet_indices"]


def test_the_reference_is_of_the_shipped_classifier(row, tmp_path):
    made = row()
    reference = load_reference(made.reference, made.prompts.selected(), tmp_path)
    check_reference(reference, made.metrics)
    assert reference.n == 1000
    assert np.allclose(reference.moments.mean, reference.features.mean(0))
    assert np.allclose(reference.moments.covariance, np.cov(reference.features.T))


# diffusers' DPM solver gives numpy a tensor that torch does not copy as numpy 2 asks
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
def test_what_it_draws_is_recognised_and_measured(row, session, tmp_path):
    made = row(CLASSES, "prompts.images_per_class=2")
    assert run_row(made, session) == "done"
    (folder,) = (tmp_path / "runs" / "single").glob("none-*")
    metrics = json.loads((folder / "record.json").read_text())["metrics"]
    assert metrics["fid_smoke"]["value"] > 0
    assert metrics["fid_smoke"]["n_reference"] == 1000
    assert all(metrics[name]["interval"] for name in ("fid_smoke", "kid_smoke", "clip_smoke"))
    classifier = ResNetForImageClassification.from_pretrained(TINY / "classifier", dtype=torch.float32).eval()
    pixels = [np.array(Image.open(folder / "images" / item.file).convert("RGB")) for item in made.prompts.items()]
    batch = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        found = classifier(batch).logits.argmax(1)
    wanted = [classifier.config.imagenet_indices.index(item.class_index) for item in made.prompts.items()]
    assert (found == torch.tensor(wanted)).float().mean() >= 0.6

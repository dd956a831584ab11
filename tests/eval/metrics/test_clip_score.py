import json

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from eval.decoding import ImageSet, ScoredImage, read_rgb
from eval.downloads.weights import HubFile
from eval.errors import RunError
from eval.metrics.clip_score import VIT_B32, VIT_L14, OpenClip, clip_scores

ARCHITECTURE = "retom-test-quickgelu"


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """open_clip's real CLIP class at a tiny size, its random weights in a safetensors file as on the hub."""
    folder = tmp_path_factory.mktemp("clip")
    config = open_clip.get_model_config("ViT-B-32-quickgelu")
    config["embed_dim"] = 16
    config["vision_cfg"] |= {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16}
    config["text_cfg"] |= {"width": 32, "heads": 2, "layers": 2}
    (folder / f"{ARCHITECTURE}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / f"{ARCHITECTURE}.json")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.create_model(ARCHITECTURE, load_weights=False)
    save_file(model.state_dict(), folder / "model.safetensors")
    return OpenClip(ARCHITECTURE, HubFile("a/b", "model.safetensors", path=str(folder / "model.safetensors")))


@pytest.fixture
def images(tmp_path):
    generator, found = np.random.default_rng(0), []
    for index in range(5):
        path = tmp_path / f"{index}.png"
        Image.fromarray(generator.integers(0, 256, (40, 52, 3), dtype=np.uint8)).save(path)
        found.append(ScoredImage(str(index), index, f"A high quality photograph of a {index} fish.", path))
    return ImageSet(tuple(found))


def test_equals_open_clip_by_hand(network, images, tmp_path):
    scores = clip_scores(network, images, cache=tmp_path)
    with torch.random.fork_rng(devices=[]):
        model, _, transform = open_clip.create_model_and_transforms(ARCHITECTURE, pretrained=network.weights.path)
    tokens = open_clip.get_tokenizer(ARCHITECTURE)([image.prompt for image in images.images])
    pixels = torch.stack([transform(read_rgb(image)) for image in images.images])
    with torch.no_grad():
        ours = torch.nn.functional.normalize(model.eval().encode_image(pixels), dim=1)
        theirs = torch.nn.functional.normalize(model.encode_text(tokens), dim=1)
    assert scores == pytest.approx((100 * (ours * theirs).sum(1)).numpy(), abs=1e-3)
    assert np.ptp(scores) > 0


def test_batches_do_not_matter_and_texts_stay_with_their_images(network, images, tmp_path):
    one = clip_scores(network, images, cache=tmp_path / "1", batch_size=1)
    assert clip_scores(network, images, cache=tmp_path / "2", batch_size=2) == pytest.approx(one, abs=1e-3)
    backwards = ImageSet(images.images[::-1])
    assert clip_scores(network, backwards, cache=tmp_path) == pytest.approx(one[::-1], abs=1e-3)


def test_the_prompt_matters_also_to_the_cache(network, images, tmp_path):
    first = clip_scores(network, images, cache=tmp_path)
    others = [ScoredImage(i.key, i.class_index, "a dog", i.path) for i in images.images]
    assert not np.allclose(clip_scores(network, ImageSet(tuple(others)), cache=tmp_path), first, atol=1e-3)


def test_loading_leaves_the_global_generator_alone(network):
    before = torch.random.get_rng_state()
    network.load("cpu")
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_published_networks_are_quickgelu_and_pinned():
    for network in (VIT_B32, VIT_L14):
        assert open_clip.get_model_config(network.architecture)["quick_gelu"]
        assert len(network.weights.revision) == 40


def test_weights_of_another_architecture_are_refused(network, tmp_path):
    save_file({"logit_scale": torch.zeros(())}, tmp_path / "other.safetensors")
    other = OpenClip(ARCHITECTURE, HubFile("a/b", "x.safetensors", path=str(tmp_path / "other.safetensors")))
    with pytest.raises(RunError, match="are not those of retom-test-quickgelu"):
        other.load("cpu")
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    broken = OpenClip(ARCHITECTURE, HubFile("a/b", "x.safetensors", path=str(tmp_path / "broken.safetensors")))
    with pytest.raises(RunError, match="are not those of retom-test-quickgelu"):
        broken.load("cpu")


def test_missing_weights_and_unknown_architectures(tmp_path):
    with pytest.raises(RunError, match=r"gone\.safetensors do not exist; put timm/vit_base.* on the model hub there"):
        OpenClip(
            VIT_B32.architecture,
            HubFile(VIT_B32.weights.repo, "x.safetensors", path=str(tmp_path / "gone.safetensors")),
        ).preflight()
    with pytest.raises(ValueError, match="architecture must be one of open_clip's names, got 'ViT-B/32'"):
        OpenClip("ViT-B/32", VIT_B32.weights)
    for other in ("ViT-B-32", "ViT-B-16-SigLIP"):
        with pytest.raises(ValueError, match=f"architecture must be one of OpenAI's CLIP, .*, got '{other}'"):
            OpenClip(other, VIT_B32.weights)

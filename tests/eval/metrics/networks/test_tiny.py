"""The trained networks' classes at toy size: files, identities, features, and one sentence per fault."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig, ResNetConfig, ResNetForImageClassification

from eval.downloads.digests import file_sha256
from eval.errors import RunError
from eval.generation.models.tiny import clip_tokenizer, text_config
from eval.metrics.networks.tiny import TinyClip, TinyFeatures

PROMPTS = ["A high quality photograph of a goldfish.", "A high quality photograph of a lion."]


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """A folder as eval/assets/tiny, with toy networks in float16."""
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = clip_tokenizer(64)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    texts, images = text_config(tokenizer, **sizes), CLIPVisionConfig(**sizes, image_size=64, patch_size=32)
    with torch.random.fork_rng(devices=[]):
        classifier = ResNetForImageClassification(
            ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic")
        )
        clip = CLIPModel(
            CLIPConfig(text_config=texts.to_dict(), vision_config=images.to_dict(), projection_dim=8),
        )
    classifier.half().save_pretrained(folder / "classifier")
    clip.half().save_pretrained(folder / "clip")
    tokenizer.save_pretrained(folder / "pipeline" / "tokenizer")
    return folder


@pytest.fixture
def clip(shipped):
    return TinyClip(str(shipped / "clip"), str(shipped / "pipeline" / "tokenizer"))


def _images(n, side=64):
    generator = np.random.default_rng(0)
    return [Image.fromarray(generator.integers(0, 256, (side, side, 3), dtype=np.uint8)) for _ in range(n)]


def test_features_are_the_classifiers_pooled_ones(shipped):
    network, before = TinyFeatures(str(shipped / "classifier")), torch.random.get_rng_state()
    batch = torch.stack([network.preparer()(image) for image in _images(3)])
    embed = network.load("cpu")
    features = embed(batch)
    model = ResNetForImageClassification.from_pretrained(shipped / "classifier", dtype=torch.float32).eval()
    assert features.shape == (3, 12)
    assert torch.equal(features, model(batch, output_hidden_states=True).hidden_states[-1].mean((2, 3)))
    assert torch.allclose(features, torch.cat([embed(row[None]) for row in batch]), atol=1e-5)
    assert torch.equal(before, torch.random.get_rng_state())


def test_an_image_of_the_right_size_is_not_resized(clip):
    image = _images(1)[0]
    wanted = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1
    assert torch.equal(clip.preparer()(image), wanted)
    assert clip.preparer()(_images(1, side=40)[0]).shape == (3, 64, 64)


def test_both_towers_are_the_models(shipped, clip):
    embed, embed_texts = clip.load("cpu")
    batch = torch.stack([clip.preparer()(image) for image in _images(2)])
    model = CLIPModel.from_pretrained(shipped / "clip", dtype=torch.float32).eval()
    ids = clip_tokenizer(64)(PROMPTS, padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        wanted = model(input_ids=ids, pixel_values=batch)
        found = [torch.nn.functional.normalize(x, dim=-1) for x in (embed(batch), embed_texts(PROMPTS))]
    assert torch.allclose(found[0], wanted.image_embeds, atol=1e-6)
    assert torch.allclose(found[1], wanted.text_embeds, atol=1e-6)
    assert torch.allclose(embed_texts(PROMPTS), torch.cat([embed_texts([text]) for text in PROMPTS]), atol=1e-6)


def test_the_identity_names_the_file(shipped, clip):
    network = TinyFeatures(str(shipped / "classifier"))
    for name, part, end in (("classifier", network, "no FID"), ("clip", clip, "no CLIP")):
        digest = file_sha256(shipped / name / "model.safetensors")
        assert part.sha256 == digest
        assert digest[:12] in part.identity
        assert part.identity.endswith(end)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"model\.safetensors does not exist; check the path; restore a shipped file with git checkout"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
            "is a Git LFS pointer, not the file",
        ),
        (b"\x08\0\0\0\0\0\0\0{}      ....", r"is damaged \(.*\); check the path; restore a shipped file"),
    ],
)
def test_a_file_that_is_incomplete_is_one_line(tmp_path, content, message):
    (tmp_path / "classifier").mkdir()
    if content is not None:
        (tmp_path / "classifier" / "model.safetensors").write_bytes(content)
    with pytest.raises(RunError, match=message) as caught:
        TinyFeatures(str(tmp_path / "classifier")).preflight()
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused(shipped, clip, tmp_path):
    swapped = tmp_path / "classifier"
    swapped.mkdir()
    (swapped / "config.json").write_bytes((shipped / "classifier" / "config.json").read_bytes())
    (swapped / "model.safetensors").write_bytes((shipped / "clip" / "model.safetensors").read_bytes())
    with pytest.raises(RunError, match=r"\d+ weights do not fit its config \(first: "):
        TinyFeatures(str(swapped)).load("cpu")
    (swapped / "config.json").write_text("{")
    with pytest.raises(RunError, match=r"network .* cannot be loaded \("):
        TinyFeatures(str(swapped)).load("cpu")
    with pytest.raises(RunError, match=r"tokenizer .* cannot be loaded"):
        TinyClip(clip.folder, str(tmp_path / "nothing")).preflight()

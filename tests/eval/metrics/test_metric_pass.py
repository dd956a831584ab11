"""Scoring decodes each image once, whatever is measured, and the numbers are those of one network at a time."""

import collections
import logging
import threading

import numpy as np
import pytest
import torch
from PIL import Image

import eval.metrics.metric_pass
from eval.decoding import ImageSet, ScoredImage, read_rgb
from eval.errors import RunError
from eval.metrics.clip_score import VIT_B32, VIT_L14, clip_scores, clip_task
from eval.metrics.features import CLEAN_INCEPTION, PYTORCH_INCEPTION, CleanFidNetwork, extract, feature_task
from eval.metrics.metric_pass import compute
from eval.metrics.networks.smoke import SmokeClip, SmokeFeatures
from eval.metrics.profiles import SmokeMetrics, score
from eval.metrics.ssim import ssim, ssim_scores, ssim_task
from eval.metrics.stats import Bootstrap
from eval.reference import ReferenceSet

N, BATCH = 13, 4


class Pooled:
    """Real preparers of clean-fid and open_clip in front of a cheap network."""

    def __init__(self, real, name):
        self._real, self.identity, self.loads = real, name, 0

    def preparer(self):
        return self._real.preparer()


class PooledFeatures(Pooled):
    def load(self, device):
        self.loads += 1
        return lambda batch: torch.nn.functional.adaptive_avg_pool2d(batch, 3).flatten(1)


class PooledClip(Pooled):
    def load(self, device):
        self.loads += 1
        return lambda batch: torch.nn.functional.adaptive_avg_pool2d(batch, 3).flatten(1), letters


def letters(prompts):
    """[B, 27] of the last letters of each text."""
    return torch.tensor([list(map(ord, prompt[-27:])) for prompt in prompts]).float()


def image_set(folder, seed, count=N):
    folder.mkdir()
    noise, found = np.random.default_rng(seed), []
    for number in range(count):
        path = folder / f"{number:04d}.png"
        Image.fromarray(noise.integers(0, 256, (40, 52, 3), dtype=np.uint8)).save(path)
        found.append(ScoredImage(path.stem, number // 2, f"A high quality photograph of a {number:04d}.", path))
    return ImageSet(tuple(found))


@pytest.fixture
def images(tmp_path):
    return image_set(tmp_path / "images", 0)


@pytest.fixture
def unmerged(tmp_path):
    return image_set(tmp_path / "unmerged", 1)


@pytest.fixture
def decoded(monkeypatch):
    """How often each image was decoded."""
    counts = collections.Counter()

    def counting(image):
        counts[image.name] += 1
        return read_rgb(image)

    monkeypatch.setattr(eval.metrics.metric_pass, "read_rgb", counting)
    return counts


def networks():
    clean, legacy = CleanFidNetwork("clean", CLEAN_INCEPTION), CleanFidNetwork("legacy_pytorch", PYTORCH_INCEPTION)
    features = [PooledFeatures(clean, "clean"), PooledFeatures(legacy, "legacy")]
    return features, [PooledClip(VIT_B32, "b32"), PooledClip(VIT_L14, "l14")]


def by_hand(network, images, batch_size):
    """One network, one image after the other, no thread."""
    prepare, embed = network.preparer(), network.load("cpu")
    prepared = [prepare(read_rgb(image)) for image in images]
    embed = embed[0] if isinstance(embed, tuple) else embed
    with torch.inference_mode():
        return [embed(torch.stack(prepared[i : i + batch_size])) for i in range(0, len(prepared), batch_size)]


@pytest.mark.parametrize("backwards", [False, True])
def test_every_bit_is_that_of_one_network_at_a_time(images, unmerged, tmp_path, backwards):
    if backwards:  # partners are found by their key
        unmerged = ImageSet(unmerged.images[::-1])
    features, clips = networks()
    tasks = [feature_task(network, each.images, each.hash) for network in features for each in (images, unmerged)]
    tasks += [clip_task(network, each) for network in clips for each in (images, unmerged)]
    tasks.append(ssim_task(images, unmerged))
    found = list(compute(tasks, cache=tmp_path / "together", batch_size=BATCH).values())
    expected = []
    for network in features:
        for each in (images, unmerged):
            expected.append(torch.cat(by_hand(network, each.images, BATCH)).numpy())
    for network in clips:
        for each in (images, unmerged):
            embedded = torch.cat(by_hand(network, each.images, BATCH))
            texts = network.load("cpu")[1]([image.prompt for image in each.images])
            expected.append((100 * torch.cosine_similarity(embedded, texts)).double().numpy())
    partners = {image.key: image for image in unmerged.images}
    pixels = [
        [torch.from_numpy(np.array(read_rgb(i))).permute(2, 0, 1).float() / 255 for i in (image, partners[image.key])]
        for image in images.images
    ]
    expected.append(np.array([ssim(a, b) for a, b in pixels]))
    assert len(found) == len(expected) == 9
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)
        assert np.ptp(ours) > 0


def test_the_cache_is_that_of_one_network_at_a_time(images, unmerged, tmp_path):
    features, clips = networks()
    tasks = [*(feature_task(n, images.images, images.hash) for n in features), *(clip_task(n, images) for n in clips)]
    compute([*tasks, ssim_task(images, unmerged)], cache=tmp_path / "together", batch_size=BATCH)
    for network in features:
        extract(network, images.images, images.hash, cache=tmp_path / "alone", batch_size=BATCH)
    for network in clips:
        clip_scores(network, images, cache=tmp_path / "alone", batch_size=BATCH)
    ssim_scores(images, unmerged, cache=tmp_path / "alone")
    together, alone = (
        {path.name: path.read_bytes() for path in (tmp_path / name / "features").iterdir()}
        for name in ("together", "alone")
    )
    assert together == alone
    assert len(together) == 5


def test_scoring_decodes_each_image_once_and_what_is_cached_not_at_all(images, unmerged, tmp_path, decoded):
    real = image_set(tmp_path / "real", 2, count=20)
    reference = ReferenceSet(real.images, tuple(real.class_indices), real.hash)
    options = {"cache": tmp_path / "cache", "bootstrap": Bootstrap(replicates=4)}
    against = {"none": unmerged, "tomesd": image_set(tmp_path / "tomesd", 3)}
    first = score(images, reference, SmokeMetrics(batch_size=BATCH), **options, against=against)
    everything = [image.name for each in (images, real, *against.values()) for image in each.images]
    assert decoded == dict.fromkeys(everything, 1)
    decoded.clear()
    assert score(images, reference, SmokeMetrics(batch_size=BATCH), **options, against=against) == first
    assert not decoded
    other = SmokeMetrics(clip=SmokeClip(seed=7), batch_size=BATCH)  # only this one is new
    score(images, reference, other, **options)
    assert decoded == {image.name: 1 for image in images.images}


def test_a_network_is_loaded_once_for_all_sets_and_not_for_what_is_cached(images, unmerged, tmp_path):
    features, clips = networks()
    for seen in (1, 1):
        tasks = [feature_task(features[0], each.images, each.hash) for each in (images, unmerged)]
        compute([*tasks, *(clip_task(clips[0], each) for each in (images, unmerged))], cache=tmp_path)
        assert (features[0].loads, clips[0].loads) == (seen, seen)


def test_both_clip_networks_share_the_prepared_image(images, tmp_path, monkeypatch):
    calls = collections.Counter()
    transform = type(VIT_B32.preparer()).__call__

    def counting(self, image):
        calls["prepared"] += 1
        return transform(self, image)

    monkeypatch.setattr(type(VIT_B32.preparer()), "__call__", counting)
    compute([clip_task(network, images) for network in networks()[1]], cache=tmp_path)
    assert calls["prepared"] == N


def test_no_more_than_two_batches_are_in_memory(images, tmp_path, decoded):
    ahead = []

    class Watching(SmokeFeatures):
        def load(self, device):
            embed = super().load(device)

            def watching(batch):
                ahead.append(sum(decoded.values()))
                return embed(batch)

            return watching

    compute([feature_task(Watching(), images.images, images.hash)], cache=tmp_path, batch_size=BATCH)
    assert len(ahead) == 4
    assert all(count <= BATCH * (number + 2) for number, count in enumerate(ahead))


def test_an_image_that_does_not_decode_is_named_and_no_thread_is_left(images, unmerged, tmp_path):
    path = unmerged.images[5].path
    path.write_bytes(path.read_bytes()[:2000])
    before = threading.active_count()
    with pytest.raises(RunError, match=r"unmerged/0005\.png does not decode"):
        compute([ssim_task(images, unmerged)], cache=tmp_path, batch_size=BATCH)
    assert threading.active_count() == before


def test_no_thread_is_left_when_a_network_raises(images, tmp_path):
    class Broken(SmokeFeatures):
        def load(self, device):
            def broken(batch):
                raise RuntimeError("no memory")

            return broken

    before = threading.active_count()
    with pytest.raises(RuntimeError) as raised:
        compute([feature_task(Broken(), images.images, images.hash)], cache=tmp_path, batch_size=BATCH)
    assert threading.active_count() == before, raised  # while the traceback still holds every frame
    assert not list(tmp_path.rglob("*.npz"))


def test_the_log_names_each_network_and_there_is_no_bar_elsewhere_than_on_a_terminal(images, tmp_path, caplog, capfd):
    caplog.set_level(logging.INFO)
    features, clips = networks()
    tasks = [*(feature_task(n, images.images, images.hash) for n in features), clip_task(clips[0], images)]
    compute(tasks, cache=tmp_path)
    assert [record.message for record in caplog.records] == [
        "scoring 13 images: features, clean",
        "scoring 13 images: features, legacy",
        "scoring 13 images: CLIP score, b32",
    ]
    assert capfd.readouterr().err == ""

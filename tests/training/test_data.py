"""Training images: what is read, what is refused; batches and augmentation."""

import pyarrow
import pyarrow.parquet
import pytest
import torch

from eval.errors import RunError
from tests.training.conftest import write_split
from training import augment
from training.data import load_images, to_signed
from training.randomness import batch_indices, generator


def test_images_are_read_with_their_classes(data):
    data = load_images(data, "train")
    assert data.pixels.shape == (12, 3, 64, 64)
    assert data.pixels.dtype == torch.uint8
    assert data.labels.tolist() == [0, 1] * 6
    assert [chosen.index for chosen in data.classes] == [1, 950]
    assert data.prompts()[0] == "A high quality photograph of a goldfish."
    assert len(data.hash) == 64
    assert to_signed(data.pixels).abs().max() <= 1


def test_what_is_no_training_data_is_refused(data, tmp_path):
    with pytest.raises(RunError, match=r"test\.parquet does not exist"):
        load_images(data, "test")
    (tmp_path / "train.parquet").write_bytes(b"nothing")
    with pytest.raises(RunError, match="not a parquet file with the columns image, label, wnid"):
        load_images(tmp_path, "train")
    pyarrow.parquet.write_table(pyarrow.table({"image": [1]}), tmp_path / "train.parquet")
    with pytest.raises(RunError, match="not a parquet file with the columns"):
        load_images(tmp_path, "train")
    write_split(tmp_path, "train", 2, classes=((2, "n01443537", "goldfish"),))
    with pytest.raises(RunError, match="wnid n01443537 with label 2 is not an ImageNet-1k class"):
        load_images(tmp_path, "train")


def test_a_broken_image_is_named(tmp_path):
    rows = [{"image": {"bytes": b"no image", "path": "broken.JPEG"}, "label": 1, "wnid": "n01443537"}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "val.parquet")
    with pytest.raises(RunError, match=r"broken\.JPEG is not a readable image"):
        load_images(tmp_path, "val")


def test_every_epoch_sees_every_image_once():
    seen = torch.cat([batch_indices(0, "clip", step, 4, 10) for step in range(5)])
    assert sorted(seen[:10].tolist()) == sorted(seen[10:].tolist()) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()
    assert not torch.equal(batch_indices(1, "clip", 0, 10, 10), batch_indices(0, "clip", 0, 10, 10))


def test_every_step_draws_its_own_numbers():
    first, again, other = (torch.rand(4, generator=generator(0, "clip", step)) for step in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_augmentation_keeps_shape_and_follows_its_generator():
    images = torch.rand(4, 3, 64, 64) * 2 - 1
    for change in (augment.flip, augment.shift_and_scale, augment.colour):
        changed = change(images, generator(0))
        assert changed.shape == images.shape
        assert torch.equal(changed, change(images, generator(0)))
        assert not torch.equal(changed, images)
    unmoved = augment.shift_and_scale(images, generator(0), shift=0.0, scale=0.0)
    torch.testing.assert_close(unmoved, images, rtol=0, atol=1e-4)


def test_cutmix_mixes_targets_by_the_pasted_area():
    images = torch.arange(4.0)[:, None, None, None].expand(4, 3, 64, 64)
    targets = torch.eye(4)
    mixed, weights = augment.cutmix(images, targets, generator(3), share=1.0)
    shares = torch.stack([(mixed[:, 0] == value).float().mean((1, 2)) for value in range(4)], dim=1)  # [B, 4]
    torch.testing.assert_close(weights, shares)
    assert (weights.max(dim=1).values < 1).any()
    assert augment.cutmix(images, targets, generator(3), share=0.0)[0] is images

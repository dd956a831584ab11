"""Images are a function of their item: not of batch, shard, order, restarts or what was in the folder before."""

import errno
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eval.errors import RunError
from eval.generation.generate import generate, sample, verify
from eval.generation.prompts import PromptSet
from eval.generation.sampler import SamplerConfig
from eval.generation.shards import batches, shard

ITEMS = PromptSet(classes=2, images_per_class=2).items()


def sampler(batch_size=2, steps=2, **options):
    return SamplerConfig(steps=steps, height=64, width=64, batch_size=batch_size, **options)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(Path(folder).glob("*.png"))}


def pixels(folder):
    return {path.name: np.asarray(Image.open(path)).astype(int) for path in sorted(Path(folder).glob("*.png"))}


class Interrupt:
    """A `before_batch` that records the seeds it is given and raises at the n-th call."""

    def __init__(self, at=None, error=KeyboardInterrupt):
        self.at, self.error, self.calls = at, error, []

    def __call__(self, seeds):
        if len(self.calls) == self.at:
            raise self.error
        self.calls.append(seeds)


@pytest.fixture(scope="module")
def undisturbed(tiny_original, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    generate(tiny_original, ITEMS, folder, sampler())
    return folder


@pytest.mark.parametrize(("world", "batch_size"), list(itertools.product((1, 2, 4), (1, 2, 4))))
@pytest.mark.parametrize("turned", [False, True])
def test_shards_batches_and_order_change_no_image(tiny_original, undisturbed, tmp_path, world, batch_size, turned):
    items = ITEMS[::-1] if turned else ITEMS
    for rank in range(world):
        generate(tiny_original, shard(items, rank, world), tmp_path, sampler(batch_size))
    made, expected = pixels(tmp_path), pixels(undisturbed)
    assert made.keys() == expected.keys()
    assert max(abs(made[name] - expected[name]).max() for name in made) <= 1


def test_batches_change_no_float_image_beyond_noise(tiny_original):
    together = sample(tiny_original, ITEMS, sampler())
    alone = np.concatenate([sample(tiny_original, [item], sampler()) for item in ITEMS])
    assert abs(together - alone).max() <= 1e-5
    assert min(abs(a - b).max() for a, b in itertools.combinations(together, 2)) > 1e-2


def test_a_repeated_run_gives_the_same_bytes(tiny_original, undisturbed, tmp_path):
    report = generate(tiny_original, ITEMS, tmp_path, sampler())
    assert contents(tmp_path) == contents(undisturbed)
    assert (len(report.made), report.kept, report.nan, report.constant) == (4, (), (), ())
    again = Interrupt()
    report = generate(tiny_original, ITEMS, tmp_path, sampler(), before_batch=again)
    assert (report.made, len(report.kept), again.calls) == ((), 4, [])


def test_shards_cut_by_batches_give_the_same_bytes(tiny_original, undisturbed, tmp_path):
    for rank in (1, 0):
        generate(tiny_original, shard(ITEMS, rank, 2, batch_size=2), tmp_path, sampler())
    assert contents(tmp_path) == contents(undisturbed)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_killed_and_resumed_gives_the_same_bytes(tiny_original, undisturbed, tmp_path, error):
    with pytest.raises(error):
        generate(tiny_original, ITEMS, tmp_path, sampler(), before_batch=Interrupt(at=1, error=error))
    assert sorted(path.name for path in tmp_path.iterdir()) == [item.file for item in ITEMS[:2]]
    hook = Interrupt()
    report = generate(tiny_original, ITEMS, tmp_path, sampler(), before_batch=hook)
    assert report.kept == tuple(item.file for item in ITEMS[:2])
    assert hook.calls == [[item.seed for item in ITEMS[2:]]]
    assert contents(tmp_path) == contents(undisturbed)


def damage_nothing_left(path):
    path.write_bytes(b"")


def damage_truncated(path):
    path.write_bytes(path.read_bytes()[:-200])


def damage_one_byte(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def damage_other_size(path):
    Image.new("RGB", (32, 32)).save(path)


def damage_other_format(path):
    Image.new("RGB", (64, 64)).save(path, format="JPEG")


@pytest.mark.parametrize(
    "damage", [damage_nothing_left, damage_truncated, damage_one_byte, damage_other_size, damage_other_format]
)
def test_a_damaged_file_is_made_again(tiny_original, undisturbed, tmp_path, damage):
    for name, data in contents(undisturbed).items():
        (tmp_path / name).write_bytes(data)
    damage(tmp_path / ITEMS[1].file)
    assert verify(ITEMS, tmp_path, size=(64, 64)).broken == (ITEMS[1].file,)
    hook = Interrupt()
    report = generate(tiny_original, ITEMS, tmp_path, sampler(), before_batch=hook)
    assert report.remade == report.made == (ITEMS[1].file,)
    assert hook.calls == [[item.seed for item in ITEMS[:2]]]  # its whole batch, so that the bytes are the same
    assert contents(tmp_path) == contents(undisturbed)


def test_nan_is_black_flagged_and_generated_again_on_resume(tiny_pipe, tmp_path, caplog):
    decode = tiny_pipe.vae.decode

    def broken_decode(latents, **options):
        latents[1] = torch.nan
        return decode(latents, **options)

    tiny_pipe.vae.decode = broken_decode
    items = ITEMS[:2]
    report = generate(tiny_pipe, items, tmp_path, sampler())
    assert report.nan == (items[1].file,)
    assert np.asarray(Image.open(tmp_path / items[1].file)).max() == 0
    assert np.asarray(Image.open(tmp_path / items[0].file)).std() > 1
    assert generate(tiny_pipe, items, tmp_path, sampler()).nan == (items[1].file,)
    check = verify(items, tmp_path)
    assert (check.nan, check.constant, check.intact, check.invalid_share) == ((items[1].file,), (), 2, 0.5)
    tiny_pipe.vae.decode = decode
    before = (tmp_path / items[0].file).read_bytes()
    report = generate(tiny_pipe, items, tmp_path, sampler())
    assert (report.remade, report.nan) == ((items[1].file,), ())
    assert "generated again: 1 (first: " in caplog.text
    assert (tmp_path / items[0].file).read_bytes() == before
    assert verify(items, tmp_path).invalid_share == 0


def test_infinite_latents_are_flagged_even_where_the_image_hides_them(tiny_pipe, tmp_path):
    forward = tiny_pipe.unet.forward

    def overflowing(*args, **options):
        (output,) = forward(*args, **options)
        output[0, :, 0, 0] = torch.inf
        return (output,)

    def clean_decode(latents, **options):
        return (torch.rand(latents.shape[0], 3, 64, 64, generator=torch.Generator().manual_seed(0)),)

    tiny_pipe.unet.forward, tiny_pipe.vae.decode = overflowing, clean_decode
    assert len(generate(tiny_pipe, ITEMS[:1], tmp_path, sampler()).nan) == 1


def test_constant_images_are_flagged(tiny_pipe, tmp_path):
    torch.nn.init.zeros_(tiny_pipe.vae.decoder.conv_out.weight)
    report = generate(tiny_pipe, ITEMS[:2], tmp_path, sampler())
    assert report.constant == verify(ITEMS[:2], tmp_path).constant == tuple(item.file for item in ITEMS[:2])


def test_a_full_disk_is_one_line_and_keeps_what_is_complete(tiny_original, tmp_path, monkeypatch):
    write = Path.write_bytes

    def full(path, data):
        if ITEMS[1].file in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(RunError, match=r"no space left to write .*; free some"):
        generate(tiny_original, ITEMS[:2], tmp_path, sampler())
    assert [path.name for path in tmp_path.iterdir()] == [ITEMS[0].file]


def test_a_full_disk_stops_the_run_within_two_batches(tiny_original, tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    items, hook = PromptSet(classes=5, images_per_class=2).items(), Interrupt()
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(RunError, match=f"no space left to write .*{items[0].file}; free some"):
        generate(tiny_original, items, tmp_path, sampler(batch_size=1), before_batch=hook)
    assert len(hook.calls) <= 3
    assert list(tmp_path.iterdir()) == []


def test_half_precision_works_on_the_cpu(tiny_pipe, tmp_path):
    tiny_pipe.to(torch.float16)
    report = generate(tiny_pipe, ITEMS[:1], tmp_path, sampler(dtype="float16"))
    assert (len(report.made), report.nan, report.constant) == (1, (), ())


@pytest.mark.parametrize("world", [1, 2, 3, 4])
@pytest.mark.parametrize("batch_size", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 4, 7])
def test_shards_cover_every_item_once(world, batch_size, count):
    items = list(range(count))
    parts = [shard(items, rank, world, batch_size) for rank in range(world)]
    assert sorted(itertools.chain(*parts)) == items
    cut = [tuple(batch) for part in parts for batch in batches(part, batch_size)]
    assert sorted(cut) == [tuple(batch) for batch in batches(items, batch_size)]


@pytest.mark.parametrize(("rank", "world"), [(2, 2), (-1, 2), (0, 0)])
def test_a_wrong_rank_is_refused(rank, world):
    with pytest.raises(ValueError, match=f"processes, got {rank}"):
        shard(ITEMS, rank, world)


def test_the_bar_is_silent_when_not_on_a_terminal(tiny_original, tmp_path, capfd):
    generate(tiny_original, ITEMS[:1], tmp_path, sampler(steps=1))
    assert capfd.readouterr().err == ""

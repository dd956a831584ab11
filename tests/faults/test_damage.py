"""Files of a run that were cut, emptied, replaced or added to: noticed, said, mended by the same command."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.faults.workshop import RUN, TABLES, copy

pytestmark = pytest.mark.faults


def image(folder: Path) -> Path:
    return sorted(folder.glob("results/runs/*/retom-*/images/*.png"))[0]


def run_file(name: str) -> Callable[[Path], Path]:
    return lambda folder: next(folder.glob(f"results/runs/*/retom-*/{name}"))


def feature(folder: Path) -> Path:
    return sorted(folder.glob("results/cache/features/*.npz"))[0]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(512))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))


def foreign(path: Path) -> None:
    Image.new("RGB", (32, 48), "red").save(path, format="PNG")


def jpeg(path: Path) -> None:
    Image.new("RGB", (64, 64), "red").save(path, format="JPEG")


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def gone(path: Path) -> None:
    path.unlink()


def without_records(folder: Path) -> None:
    for path in folder.glob("results/runs/*/*/record.json"):
        path.unlink()


@pytest.mark.parametrize("finished", [True, False], ids=["finished", "unfinished"])
@pytest.mark.parametrize("harm", [cut, empty, garbage, flip, foreign, jpeg, link, gone])
def test_an_image(harm: Callable, finished: bool, trial, whole, tmp_path: Path) -> None:
    with trial("damaged images", f"{harm.__name__}, {'finished' if finished else 'unfinished'}") as one:
        folder = copy(whole.folder, tmp_path / "copy")
        harm(image(folder))
        if not finished:
            without_records(folder)
        said = (
            "misses 1 of its 2 images"
            if finished
            else "generated again: 1"
            if harm is not gone
            else "has no record yet"
        )
        one.recover(folder, says=said)


@pytest.mark.parametrize("harm", [cut, empty, garbage, flip])
def test_cached_features(harm: Callable, trial, whole, tmp_path: Path) -> None:
    with trial("corrupt feature cache", harm.__name__) as one:
        folder = copy(whole.folder, tmp_path / "copy")
        for path in folder.glob("results/cache/features/*.npz"):
            harm(path)
        without_records(folder)
        one.recover(folder, says="computing them again")


@pytest.mark.parametrize("harm", [cut, empty, garbage])
@pytest.mark.parametrize("name", ["config.yaml", "manifest.jsonl", "record.json"])
def test_a_file_of_the_run(name: str, harm: Callable, trial, whole, tmp_path: Path) -> None:
    with trial("corrupt manifest, config or record", f"{name}, {harm.__name__}") as one:
        folder = copy(whole.folder, tmp_path / "copy")
        harm(run_file(name)(folder))
        one.recover(folder, says=f"set aside as {name}.corrupt-1")


def test_a_corrupt_record_is_an_unfinished_row_to_the_tables(trial, server, whole, tmp_path: Path) -> None:
    with trial("corrupt manifest, config or record", "record.json, before the table") as one:
        folder = copy(whole.folder, tmp_path / "copy")
        path = run_file("record.json")(folder)
        cut(path)
        built = server.run("scripts.tables", *TABLES, folder=folder)
        assert built.status == 1
        assert f"{path.relative_to(folder)} is not a record" in built.printed
        assert "small: ReToM is missing" in built.printed
        one.recover(folder, says="set aside as record.json.corrupt-1")


def test_a_record_with_a_number_changed_by_hand(trial, whole, tmp_path: Path) -> None:
    with trial("corrupt manifest, config or record", "record.json, another hash") as one:
        folder = copy(whole.folder, tmp_path / "copy")
        path = run_file("record.json")(folder)
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record | {"pixel_hash": "0" * 12}))
        one.recover(folder, says="set aside as record.json.corrupt-1")


def test_stray_files(trial, whole, tmp_path: Path) -> None:
    with trial("stray files") as one:
        folder = copy(whole.folder, tmp_path / "copy")
        run = run_file("")(folder)
        Image.new("RGB", (64, 64), "red").save(run / "images" / "holiday.png")
        (run / "images" / "folder").mkdir()
        (run / "notes.txt").write_text("mine")
        (run.parent / "other").mkdir()
        (run.parents[1] / "loose.json").write_text("{")
        (folder / "results" / "cache" / "features" / "x.npz").write_text("not features")
        done = one.server.run("scripts.run", *RUN, folder=folder)
        assert done.status == 0
        assert "not of the run, not touched: 2 (first: folder)" in done.printed
        assert (run / "images" / "holiday.png").exists()
        (run / "images" / "holiday.png").unlink()
        (run / "images" / "folder").rmdir()
        one.recover(folder)


def test_files_from_the_future(trial, whole, tmp_path: Path) -> None:
    """What a clock that was set back leaves behind."""
    with trial("clock going backwards", "files from tomorrow") as one:
        folder = copy(whole.folder, tmp_path / "copy")
        without_records(folder)
        image(folder).unlink()
        for path in folder.rglob("*"):
            os.utime(path, (time.time() + 86400,) * 2)
        one.recover(folder, says="has no record yet")

"""Trackers: what they are given, that it arrives in files of the real packages, and that none can fail a run."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eval.trackers import NoTracker, Tracked, send
from eval.trackers.curves import curves, numbers
from eval.trackers.sheet import SIDE, sheet
from eval.trackers.tensorboard import TensorBoard
from eval.trackers.wandb import WandB
from tests.eval.sample_records import make_record


def tracked() -> Tracked:
    record, other = (make_record(ratio=ratio, fid=30 + ratio) for ratio in (0.5, 0.25))
    page = Image.fromarray(np.full((20, 30, 3), 90, np.uint8))
    options = {"method": "retom", "method.ratio": 0.5}
    return Tracked("table1/retom-1", record, options, numbers(record), curves(record, [other]), page)


@dataclass(frozen=True)
class Broken:
    error: Exception

    def keep(self, run: Tracked) -> None:
        raise self.error


@pytest.mark.parametrize(
    "error", [RuntimeError("no server"), ModuleNotFoundError("no", name="wandb"), OSError(28, "x")]
)
def test_a_tracker_that_fails_is_reported_and_goes_no_further(error: Exception, caplog) -> None:
    assert not send(Broken(error), tracked)
    assert "tracker Broken did not receive this run" in caplog.text


def test_what_cannot_be_gathered_is_no_failure_either_and_none_gathers_nothing(caplog) -> None:
    def gather() -> Tracked:
        raise ValueError("an image is gone")

    assert not send(Broken(OSError()), gather)
    assert "ValueError: an image is gone" in caplog.text
    assert send(NoTracker(), gather)


def test_curves_are_those_of_the_calls_and_over_the_one_option_that_varies() -> None:
    record = make_record(ratio=0.5, alpha=0.5, fid=35.0)
    beside = [
        make_record(ratio=0.25, alpha=0.5, fid=33.0),
        make_record(ratio=0.75, alpha=0.1, fid=31.0),  # two options differ
        make_record("tomesd", ratio=0.25, alpha=0.5, fid=32.0),
        make_record(ratio=0.1, alpha=0.5, status="failed"),
    ]
    found = {curve.title: curve for curve in curves(record, beside)}
    assert found["fid over ratio"].points == ((0.25, 33.0), (0.5, 35.0))
    assert not [title for title in found if title.endswith("over alpha")]
    assert len(found["seconds of each call at batch 1"].points) == 9


def test_the_sheet_holds_images_in_order_and_skips_damaged_ones(tmp_path: Path) -> None:
    for index in range(8):
        Image.new("RGB", (64, 64), (index * 30, 0, 0)).save(tmp_path / f"{index}.png")
    paths = sorted(tmp_path.iterdir())
    paths[1].write_bytes(b"")
    page = sheet(paths)
    assert page.size == (6 * SIDE, 2 * SIDE)
    assert [page.getpixel((column * SIDE, 0))[0] for column in range(6)] == [0, 60, 90, 120, 150, 180]
    assert sheet([paths[1]]) is None
    assert sheet([]) is None


# TensorBoard's generated protobuf code, and what its own reader imports.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_holds_the_record_the_numbers_the_curves_and_the_images(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for _ in range(2):  # sent again, it replaces what was sent before
        TensorBoard(str(tmp_path)).keep(tracked())
    folder = tmp_path / "table1" / "retom-1"
    events = EventAccumulator(str(folder))
    events.Reload()
    assert "record/text_summary" in events.Tags()["tensors"]
    assert [event.value for event in events.Scalars("number/fid")] == [30.5]
    assert len(events.Scalars("curve/seconds_of_each_call_at_batch_1")) == 9
    assert {"images", "curve/fid_over_ratio"} <= set(events.Tags()["images"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_wandb_offline_keeps_a_run_to_be_sent_later(tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_API_KEY", "")
    WandB(str(tmp_path)).keep(tracked())
    (kept,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    text = kept.read_bytes()  # protobuf, not compressed; the package has no reader of its own
    for what in (b"table1/retom-1", b"fid over ratio", b"s_per_im", b"protocol_hash", b"images"):
        assert what in text
    assert list((tmp_path / "wandb").glob("offline-run-*/files/media/images/*.png"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WandB("w", mode="on"), "tracker.mode must be one of offline, online, got 'on'"),
        (lambda: WandB("w", project=""), "tracker.project must be given, got ''"),
        (lambda: TensorBoard(""), "tracker.folder must name a folder, got ''"),
    ],
)
def test_bad_values_are_named(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()

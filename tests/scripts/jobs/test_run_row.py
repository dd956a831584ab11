"""One row from checks to record: skipped when finished, resumed when not, scored again, failed with a sentence."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eval import provenance
from eval.errors import RunError
from eval.generation.images import NAN, write_png
from eval.records import RunFolder, validate_record
from eval.run.row import Row
from scripts.jobs.run_row import run_row


def saved_images(row: Row) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(row.folder.images.iterdir())}


def test_a_row_leaves_config_manifest_images_and_record(smallest_row, session) -> None:
    row = smallest_row("method=retom")
    assert run_row(row, session) == "done"
    path = row.folder.path
    assert {"config.yaml", "manifest.jsonl", "images", "record.json"} <= {entry.name for entry in path.iterdir()}
    record = json.loads((path / "record.json").read_text())
    validate_record(record)
    assert record["status"] == "ok"
    assert record["method"] == "retom"
    assert record["timing"] is None
    assert all(site["merged"] < site["tokens"] for site in record["merges"])
    run = record["provenance"]["run"]
    assert (run["attention_kernel"], run["attention_dispatch"]) == (["flash d=16", "flash d=32"], None)
    assert set(record["metrics"]) == {"fid_smoke", "kid_smoke", "clip_smoke"}
    assert len(saved_images(row)) == 2


def test_a_finished_row_is_left_alone(smallest_row, session) -> None:
    row = smallest_row("method=retom")
    run_row(row, session)
    record = row.folder.path / "record.json"
    before = record.stat().st_mtime_ns
    assert run_row(smallest_row("method=retom"), session) == "already finished"
    assert record.stat().st_mtime_ns == before


def test_a_finished_row_needs_no_room(smallest_row, session, monkeypatch) -> None:
    row = smallest_row("method=none")
    run_row(row, session)
    asked = []
    monkeypatch.setattr(RunFolder, "require_space", lambda _, needed: asked.append(needed))
    assert run_row(row, session) == "already finished"
    next((row.results / "runs").rglob("*.png")).unlink()
    run_row(row, session)
    assert asked == [0, 64 * 64 * 3]


def test_an_unfinished_row_is_resumed_and_ends_the_same(smallest_row, session) -> None:
    row = smallest_row("method=retom_random", "timing=smoke", "timing.images=1")
    run_row(row, session)
    whole = saved_images(row)
    undisturbed = row.folder.read_record()
    (row.folder.path / "record.json").unlink()
    first, second = sorted(row.folder.images.iterdir())
    first.unlink()
    second.write_bytes(second.read_bytes()[:-40])  # killed in the middle of copying
    assert run_row(row, session) == "done"
    assert saved_images(row) == whole
    resumed = row.folder.read_record()
    assert (undisturbed["timing"]["resumed"], resumed["timing"]["resumed"]) == (False, True)
    assert resumed["metrics"] == undisturbed["metrics"]
    assert resumed["merges"] == undisturbed["merges"]
    assert {site["plans_computed"] + site["plans_reused"] for site in resumed["merges"]} == {3}  # calls of one image


def test_another_protocol_scores_the_same_images_again(smallest_row, session) -> None:
    row = smallest_row("method=none")
    run_row(row, session)
    before, stamps = saved_images(row), [p.stat().st_mtime_ns for p in sorted(row.folder.images.iterdir())]
    other = smallest_row("method=none", "reference.per_class=3")
    assert other.hash == row.hash
    assert run_row(other, session) == "rescored"
    assert saved_images(row) == before
    assert [p.stat().st_mtime_ns for p in sorted(row.folder.images.iterdir())] == stamps
    assert row.folder.read_record()["protocol"]["n_reference"] == 6


def test_a_row_is_compared_with_the_baseline_as_soon_as_that_is_there(smallest_row, session) -> None:
    row = smallest_row("method=retom")
    run_row(row, session)
    assert "ssim" not in row.folder.read_record()["metrics"]
    run_row(smallest_row("method=none"), session)
    assert run_row(smallest_row("method=retom"), session) == "rescored"
    record = row.folder.read_record()
    assert 0 < record["metrics"]["ssim"]["value"] < 1
    assert set(record["metrics"]["clip_smoke"]["differences"]) == {"none"}
    assert run_row(smallest_row("method=retom"), session) == "already finished"


def test_a_row_of_other_prompts_is_not_compared(smallest_row, session) -> None:
    run_row(smallest_row("method=none", "prompts.seed=1"), session)
    row = smallest_row("method=retom")
    run_row(row, session)
    assert row.folder.read_record()["against"] == {}


def test_a_method_that_merges_nothing_fails_and_says_so_in_the_record(smallest_row, session) -> None:
    row = smallest_row("method=retom", "method.window=1")
    with pytest.raises(RunError, match="merged nothing at any of its 16 sites"):
        run_row(row, session)
    record = row.folder.read_record()
    assert record["status"] == "failed"
    assert "merged nothing" in record["error"]["sentence"]
    assert "Traceback" in record["error"]["traceback"]


def test_ratio_zero_need_not_merge(smallest_row, session) -> None:
    row = smallest_row("method=retom", "method.ratio=0")
    assert run_row(row, session) == "done"
    plain = smallest_row("method=none")
    run_row(plain, session)
    assert saved_images(row) == saved_images(plain)


def test_merges_are_known_when_every_image_was_there_already(smallest_row, session) -> None:
    row = smallest_row("method=retom")
    run_row(row, session)
    (row.folder.path / "record.json").unlink()
    run_row(row, session)
    assert all(site["merged"] < site["tokens"] for site in row.folder.read_record()["merges"])


def test_the_model_is_left_as_it_was(smallest_row, session) -> None:
    row = smallest_row("method=tomesd")
    pipe = session.pipeline(row.model, row.sampler)
    before = {name: dict(vars(module)) for name, module in pipe.unet.named_modules()}
    run_row(row, session)
    assert {name: set(vars(module)) for name, module in pipe.unet.named_modules()} == {
        name: set(kept) for name, kept in before.items()
    }


def test_a_folder_that_is_being_written_is_refused(smallest_row, session) -> None:
    row = smallest_row("method=retom")
    with row.folder.lock(), pytest.raises(RunError, match="is being written by process"):
        run_row(row, session)
    assert row.folder.read_record() is None


def test_a_finished_record_survives_a_failure(smallest_row, session, tmp_path: Path) -> None:
    row, unmerged = smallest_row("method=retom"), smallest_row("method=none")
    for one in (unmerged, row):
        run_row(one, session)
    next(unmerged.folder.images.iterdir()).unlink()
    with pytest.raises(RunError, match="1 of its 2 images are missing"):
        run_row(smallest_row("method=retom", "reference.per_class=3"), session)
    assert row.folder.read_record()["status"] == "ok"


def test_images_of_a_finished_run_are_repaired(smallest_row, session, caplog) -> None:
    row = smallest_row("method=retom", "timing=smoke", "timing.images=1")
    run_row(row, session)
    whole, record = saved_images(row), row.folder.read_record()
    first, second = sorted(row.folder.images.iterdir())
    (row.folder.path / "elsewhere.png").write_bytes(first.read_bytes())
    first.unlink()
    first.symlink_to("../elsewhere.png")
    second.write_bytes(b"")
    (row.folder.images / "notes.txt").write_text("a stray file")
    with caplog.at_level("INFO"):
        assert run_row(row, session) == "done"
    assert "misses 2 of its 2 images" in caplog.text
    assert "not of the run, not touched: 1 (first: notes.txt)" in caplog.text
    (row.folder.images / "notes.txt").unlink()
    assert saved_images(row) == whole
    mended = row.folder.read_record()
    assert (mended["metrics"], mended["timing"]) == (record["metrics"], record["timing"])
    assert run_row(row, session) == "already finished"


def test_cuda_asked_for_and_absent_is_said_before_anything_is_written(smallest_row, session, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(RunError, match="device=cuda was requested"):
        run_row(smallest_row("sampler.device=cuda"), session)
    assert not (tmp_path / "runs").exists()


def test_classes_on_disk_are_those_with_enough_images(smallest_row, tmp_path: Path) -> None:
    from eval.reference.synthetic import write_synthetic

    folder = tmp_path / "images"
    write_synthetic(folder, [("n01440764", 0), ("n02119789", 278)], 2, size=32, seed=0)
    write_synthetic(folder, [("n01443537", 1)], 1, size=32, seed=0)
    row = smallest_row("reference=imagenet_folder", f"reference.path={folder}", "prompts.classes=on_disk")
    assert [item.wnid for item in row.prompts.items()] == ["n01440764", "n02119789"]
    assert row.config["prompts"]["classes"] == ["n01440764", "n02119789"]


def test_images_exchanged_for_intact_others_are_scored_again(smallest_row, session, caplog) -> None:
    row = smallest_row("method=none")
    run_row(row, session)
    first, second = sorted(row.folder.images.iterdir())[:2]
    first.write_bytes(second.read_bytes())
    assert run_row(row, session) == "rescored"
    assert "are not those of its record" in caplog.text
    assert run_row(row, session) == "already finished"


def test_a_row_is_compared_again_when_the_baseline_was_generated_again(smallest_row, session) -> None:
    none, row = smallest_row("method=none"), smallest_row("method=retom")
    run_row(none, session)
    run_row(row, session)
    before = row.folder.read_record()["metrics"]["ssim"]["value"]
    for path in none.folder.images.iterdir():  # as another version of a package would draw them
        write_png(path, 255 - np.asarray(Image.open(path)))
    assert run_row(none, session) == "rescored"
    assert run_row(row, session) == "rescored"
    assert row.folder.read_record()["metrics"]["ssim"]["value"] != before


def test_each_part_of_the_work_has_the_code_that_did_it(smallest_row, session, monkeypatch) -> None:
    def at(commit: str) -> None:
        git = {"sha": commit * 40, "dirty": False, "reason": None}
        monkeypatch.setattr(provenance, "git_state", lambda root: git)

    def commits() -> list[str]:
        record = row.folder.read_record()
        return [part["git"]["sha"][0] for part in (record["provenance"], record["timing"]["by"], record["scored_by"])]

    timed = ("timing=smoke", "timing.warmup=0", "timing.images=1")
    row = smallest_row("method=none", *timed)
    at("a")
    run_row(row, session)
    assert commits() == ["a", "a", "a"]
    at("b")
    assert run_row(smallest_row("method=none", *timed, "bootstrap.replicates=5"), session) == "rescored"
    assert commits() == ["a", "a", "b"]
    at("c")
    assert (
        run_row(smallest_row("method=none", *timed[:2], "timing.images=2", "bootstrap.replicates=5"), session) == "done"
    )
    assert commits() == ["a", "c", "b"]


def test_a_run_is_not_gone_on_with_other_weights(smallest_row, session) -> None:
    row = smallest_row("method=none")
    run_row(row, session)
    kept = row.folder.path / "weights.json"
    hashes = json.loads(kept.read_text(encoding="utf-8"))
    kept.write_text(json.dumps(hashes | {"unet": "0" * 64}), encoding="utf-8")
    next(row.folder.images.iterdir()).unlink()
    with pytest.raises(RunError, match=r"generated with other weights than the model has now \(unet\)"):
        run_row(row, session)
    kept.write_text("[", encoding="utf-8")
    assert run_row(row, session) == "done"
    assert json.loads(kept.read_text(encoding="utf-8")) == hashes


def test_a_row_is_compared_again_when_images_of_the_baseline_are_repaired(smallest_row, session) -> None:
    unmerged, row = smallest_row("method=none"), smallest_row("method=retom")
    for one in (unmerged, row):
        run_row(one, session)
    whole = row.folder.read_record()
    image = min(unmerged.folder.images.iterdir())
    write_png(image, np.zeros((64, 64, 3), np.uint8), NAN)
    for record in (path / "record.json" for path in (unmerged.folder.path, row.folder.path)):
        record.unlink()
    spoilt = json.loads(json.dumps(whole))
    spoilt["against_pictures"] = {"none": "0" * 64}
    row.folder.write_record(spoilt)
    assert run_row(unmerged, session) == "done"
    assert run_row(row, session) == "rescored"
    mended = row.folder.read_record()
    assert (mended["against_pictures"], mended["metrics"]) == (whole["against_pictures"], whole["metrics"])

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from eval.errors import RunError
from eval.generation.prompts import PromptItem
from eval.records import RunFolder, pixel_hash
from tests.eval.sample_records import make_config, make_record

WRITE = """
import itertools, json, pathlib, sys
from eval.records import RunFolder
folder = RunFolder(*json.loads(sys.argv[1]))
record = json.loads(sys.argv[2])
record["padding"] = "x" * 3_000_000
for number in itertools.count():
    record["number"] = number
    folder.write_record(record)
    print(number, flush=True)
"""


def make_folder(root: Path, **options) -> RunFolder:
    return RunFolder(root, "table1", "retom", pixel_hash(make_config(**options)))


def make_items(count: int = 3) -> list[PromptItem]:
    return [
        PromptItem(f"000{i}_000", i, f"n{i}", "a\u2028b", 0, "A photograph of a\u2028b.", i, f"000{i}_000.png")
        for i in range(count)
    ]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("../x", "retom", "0" * 12), "experiment must be made of"),
        (("table1", "a/b", "0" * 12), "method must be made of"),
        (("table1", "retom", "xyz"), "hash must be 12 hexadecimal digits"),
    ],
)
def test_names_cannot_leave_the_root(tmp_path: Path, arguments: tuple, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        RunFolder(tmp_path, *arguments)


def test_open_keeps_the_config_and_accepts_it_again(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, window=(2, 8))
    folder.open(make_config(window=(2, 8)))
    assert folder.path == tmp_path / "table1" / f"retom-{folder.hash}"
    assert yaml.safe_load((folder.path / "config.yaml").read_text()) == make_config(window=[2, 8])
    before = (folder.path / "config.yaml").stat().st_mtime_ns
    folder.open(make_config(window=[2.0, 8]))
    assert (folder.path / "config.yaml").stat().st_mtime_ns == before
    folder.open(make_config(window=[2, 8]) | {"timing": {"repeats": 3}})
    assert yaml.safe_load((folder.path / "config.yaml").read_text())["timing"] == {"repeats": 3}


def test_open_refuses_another_config(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, ratio=0.5)
    folder.open(make_config(ratio=0.5))
    (folder.path / "config.yaml").write_text(yaml.safe_dump(make_config(ratio=0.25)))
    other = pixel_hash(make_config(ratio=0.25))
    with pytest.raises(RunError, match=f"(?s)retom-{folder.hash} .*hashes to {other}.*{folder.hash}"):
        folder.open(make_config(ratio=0.5))
    with pytest.raises(ValueError, match=f"config hashes to {other}, but the run folder is"):
        folder.open(make_config(ratio=0.25))


@pytest.mark.parametrize("text", ["{", "", "- a", "model: 1", "\x00", "\x80", "a: !!python/object:os.system {}"])
def test_a_corrupt_config_is_set_aside_and_said(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    folder = make_folder(tmp_path)
    folder.open(make_config())
    (folder.path / "config.yaml").write_bytes(text.encode("latin-1"))
    with caplog.at_level(logging.WARNING):
        folder.open(make_config())
    assert "set aside as config.yaml.corrupt-1" in caplog.text
    assert (folder.path / "config.yaml.corrupt-1").read_bytes() == text.encode("latin-1")
    assert yaml.safe_load((folder.path / "config.yaml").read_text()) == make_config()


def test_manifest_is_saved_and_compared(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    folder.open(make_config())
    assert folder.read_manifest() is None
    folder.write_manifest(make_items())
    folder.write_manifest(make_items())
    assert folder.read_manifest() == [item.row() for item in make_items()]
    assert folder.image_path(folder.read_manifest()[1]) == folder.path / "images" / "0001_000.png"
    with pytest.raises(RunError, match=r"a manifest\.jsonl with 3 images, not 2;"):
        folder.write_manifest(make_items(2))
    with pytest.raises(RunError, match=r"a manifest\.jsonl with another image on line 1;"):
        folder.write_manifest(reversed(make_items()))


def test_a_cut_manifest_is_set_aside_and_written_again(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    folder.open(make_config())
    folder.write_manifest(make_items())
    whole = (folder.path / "manifest.jsonl").read_bytes()
    for number, cut in enumerate((len(whole) - 1, len(whole) // 2, 5), start=1):
        (folder.path / "manifest.jsonl").write_bytes(whole[:cut])
        folder.write_manifest(make_items())
        assert (folder.path / f"manifest.jsonl.corrupt-{number}").read_bytes() == whole[:cut]
        assert (folder.path / "manifest.jsonl").read_bytes() == whole


@pytest.mark.parametrize("name", ["../a.png", "/etc/passwd", "a/b.png", "..", ".hidden", "", "a\n", None])
def test_manifest_names_cannot_leave_the_folder(tmp_path: Path, name: str | None) -> None:
    folder = make_folder(tmp_path)
    with pytest.raises(RunError, match="names the file"):
        folder.image_path({"file": name})
    with pytest.raises(RunError, match="names the file"):
        folder.write_manifest([{"key": "a", "file": name}])
    with pytest.raises(RunError, match="twice"):
        folder.write_manifest([{"file": "a.png"}, {"file": "a.png"}])


def test_record_round_trip(tmp_path: Path) -> None:
    record = make_record()
    folder = RunFolder(tmp_path, "table1", "retom", record["pixel_hash"])
    assert folder.read_record() is None
    folder.write_record(record)
    assert folder.read_record() == record
    with pytest.raises(ValueError, match=r"record\.method is 'tomesd', but the run folder is"):
        folder.write_record(make_record("tomesd"))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"record_version": 1}', "[" * 100_000, '{"a": NaN}', "\x80"])
def test_a_corrupt_record_is_set_aside_and_said(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    folder = make_folder(tmp_path)
    folder.open(make_config())
    for number in (1, 2):
        (folder.path / "record.json").write_bytes(text.encode("latin-1"))
        assert folder.read_record() is None
        assert f"set aside as record.json.corrupt-{number}" in caplog.text
        assert (folder.path / f"record.json.corrupt-{number}").read_bytes() == text.encode("latin-1")


def test_a_record_of_another_version_is_left_alone(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    folder.open(make_config())
    (folder.path / "record.json").write_text('{"record_version": 7}')
    with pytest.raises(RunError, match="is of record version 7 and this harness reads version 1;"):
        folder.read_record()
    assert (folder.path / "record.json").exists()


def test_space_is_asked_for_before_the_folder_exists(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "not" / "yet")
    folder.require_space(1)
    with pytest.raises(RunError, match=r"needs 1,073,741,824.0 MiB and its disk has [0-9.,]+ MiB free; make room"):
        folder.require_space(2**50)
    assert not (tmp_path / "not").exists()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "table1").write_text("a file where the folder should be")
    with pytest.raises(RunError, match=r"Run folder .* cannot be written"):
        make_folder(tmp_path).open(make_config())


def test_kill_in_the_middle_of_writing_leaves_a_complete_record(tmp_path: Path) -> None:
    import json

    record = make_record()
    arguments = json.dumps([str(tmp_path), "table1", "retom", record["pixel_hash"]]), json.dumps(record)
    command = [sys.executable, "-c", WRITE, *arguments]
    for after in (1, 4, 9):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as writer:
            last = [int(writer.stdout.readline()) for _ in range(after)][-1]
            os.kill(writer.pid, signal.SIGKILL)
        kept = RunFolder(tmp_path, "table1", "retom", record["pixel_hash"]).read_record()
        assert kept["number"] >= last
        assert len(kept["padding"]) == 3_000_000


def test_open_clears_what_a_killed_write_left(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    folder.open(make_config())
    (folder.path / ".record.json.abcd.tmp").write_text("{")
    folder.open(make_config())
    assert sorted(path.name for path in folder.path.iterdir()) == ["config.yaml", "images"]


@pytest.mark.parametrize("name", ["images", "config.yaml", "manifest.jsonl", "record.json"])
def test_no_link_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    folder = make_folder(tmp_path)
    folder.open(make_config())
    folder.write_manifest(make_items())
    (tmp_path / "elsewhere").mkdir()
    place = folder.path / name
    if place.exists():
        place.rename(tmp_path / "elsewhere" / name)
    place.symlink_to(tmp_path / "elsewhere" / name)
    with pytest.raises(RunError, match=f"{name} is a link, but a run must be in one folder"):
        folder.open(make_config())


def test_an_image_is_no_link(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    folder.open(make_config())
    (folder.images / "a.png").symlink_to("/etc/hostname")
    with pytest.raises(RunError, match=r"a\.png is a link"):
        folder.image_path({"file": "a.png"})


def test_a_run_without_a_record_is_resumed_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = make_folder(tmp_path)
    with caplog.at_level(logging.INFO):
        folder.open(make_config())
        assert "has no record yet" not in caplog.text
        (folder.images / "0000_000.png").touch()
        folder.open(make_config())
    assert "has no record yet: its 1 images are reused" in caplog.text

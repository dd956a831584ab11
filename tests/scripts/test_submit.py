"""From a finished run of the smallest model to a submission that holds, and what is not packed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from eval.atomic import write_json
from eval.generation.images import write_png
from eval.submissions import layout, pack
from eval.submissions.protocols import fixed_part, protocol_key
from eval.submissions.source import hash_of_folders
from scripts import check_submissions, submit
from scripts.jobs.row import read_row
from scripts.jobs.run_row import run_row
from tests.scripts.conftest import SMALLEST, composed
from tests.scripts.forging import rescale

METHODS = ("none", "oracle", "retom")


@pytest.fixture(scope="session")
def finished(tmp_path_factory, session) -> Path:
    """A results folder with finished runs of `METHODS`, two images each, timed six times."""
    results = tmp_path_factory.mktemp("finished")
    for method in METHODS:
        choices = (f"method={method}", "runs=packed", "timing=smoke", "timing.images=6", f"results={results}")
        run_row(read_row(*composed(*SMALLEST, *choices)), session)
    return results


@pytest.fixture
def results(finished: Path, tmp_path: Path) -> Path:
    """A copy that the test may change, with a folder of submissions whose one protocol is that of these runs."""
    shutil.copytree(finished, tmp_path / "results")
    record = record_of(tmp_path / "results", "retom")
    fixed = fixed_part(record["protocol"])
    entry = {"name": "smallest", "title": "Smallest", "experiment": "packed", "quality": "ssim", "cost": "tokens"}
    entry |= {"timed_images": 6, "hash": protocol_key(fixed), "open": [], "fixed": fixed}
    write_json(tmp_path / "submissions" / "protocols.json", {"protocols": [entry]})
    return tmp_path / "results"


def folder_of(results: Path, method: str) -> Path:
    (folder,) = (results / "runs" / "packed").glob(f"{method}-*")
    return folder


def record_of(results: Path, method: str) -> dict:
    return json.loads((folder_of(results, method) / "record.json").read_text(encoding="utf-8"))


def packed(command, results: Path, method: str = "retom", by: str = "A. Name", *more: str) -> int:
    """Pack the run of a method; the exit status."""
    arguments = (f"run=packed/{folder_of(results, method).name}", f"by={by}", "contact=a@example.org", *more)
    return command(submit, *arguments, f"submissions={results.parent / 'submissions'}", results=results)


def checked(command, results: Path, *more: str) -> int:
    root = results.parent
    board = f"board={root / 'page.md'}"
    return command(check_submissions, f"submissions={root / 'submissions'}", board, "write=true", *more)


@pytest.mark.parametrize("method", METHODS)
def test_a_finished_run_is_packed_and_holds(method: str, results: Path, command, capsys) -> None:
    assert packed(command, results, method) == 0
    assert checked(command, results) == 0, capsys.readouterr().out
    (folder,) = (results.parent / "submissions").glob(f"{method}/*_cpu_float32_sdpa/{method}-*")
    assert {path.name for path in folder.iterdir()} == {
        "record.json", "none.json", "oracle.json", "method.json", "images.sha256", "images"
    }  # fmt: skip
    assert len(list((folder / "images").iterdir())) == 2
    assert (folder / "record.json").read_bytes() == (folder_of(results, method) / "record.json").read_bytes()


def test_a_second_partys_run_has_a_name_of_its_own(results, command, capsys) -> None:
    assert packed(command, results) == packed(command, results) == 0  # again, by the same party: in its place
    path = folder_of(results, "retom") / "record.json"
    record = record_of(results, "retom")
    rescale(record, 1.01)
    path.write_text(json.dumps(record), encoding="utf-8")
    assert packed(command, results, "retom", "B. Name") == 0
    names = {folder.name for folder in (results.parent / "submissions").glob("retom/*/*")}
    assert names == {path.parent.name, f"{path.parent.name}-by-b.-name"}
    assert checked(command, results) == 0, capsys.readouterr().out


def test_images_that_are_generated_again_are_the_same_and_verified(results, command, capsys) -> None:
    assert packed(command, results) == 0
    (folder,) = (results.parent / "submissions").glob("retom/*/*")
    name = "/".join(folder.parts[-3:])
    assert checked(command, results, f"verify={name}") == 1
    assert "verify needs by=NAME" in capsys.readouterr().err
    assert checked(command, results, f"verify={name}", "by=C. Name") == 0
    report = json.loads((folder / "verified.json").read_text())
    assert (report["by"], report["images"], report["equal"], report["close"]) == ("C. Name", 2, 2, 2)
    assert checked(command, results) == 0
    assert "reported, verified" in (results.parent / "page.md").read_text()


def test_images_of_another_method_are_not_verified(results, command, capsys) -> None:
    """A submission whose hashes and images agree, and whose images the method does not generate."""
    images = folder_of(results, "retom") / "images"
    for path in images.iterdir():
        write_png(path, np.full((64, 64, 3), 127, np.uint8))
    assert packed(command, results) == 0
    assert "are not those of its record" in capsys.readouterr().err
    (folder,) = (results.parent / "submissions").glob("retom/*/*")
    record = json.loads((folder / "record.json").read_text())
    from eval.decoding import ImageSet, ScoredImage

    manifest = [json.loads(line) for line in (images.parent / "manifest.jsonl").read_text().splitlines()]
    scored = [ScoredImage(item["key"], item["class_index"], item["prompt"], images / item["file"]) for item in manifest]
    record["images"]["sha256"] = ImageSet(tuple(scored)).hash
    (folder / "record.json").write_text(json.dumps(record))
    assert checked(command, results) == 0, capsys.readouterr().out
    assert checked(command, results, f"verify={'/'.join(folder.parts[-3:])}", "by=C. Name") == 1
    assert "NOT verified: 0 of 2 images have the same pixels" in capsys.readouterr().err
    assert not (folder / "verified.json").exists()


def test_what_is_unfinished_or_lacks_its_baselines_is_not_packed(results, command, capsys) -> None:
    def refused(sentence: str, *more: str) -> None:
        assert packed(command, results, "retom", "A. Name", *more) == 1
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert sentence in lines[0]

    refused("method.json would not follow its schema: paper", 'paper="a|b"')
    oracle, none = folder_of(results, "oracle"), folder_of(results, "none")
    oracle.rename(results / "oracle")
    refused("(runs=packed) and method=oracle method.ratio=0.5")
    none.rename(results / "none")
    refused("(runs=packed) and method=none and then the run itself again")
    (results / "oracle").rename(oracle)
    (results / "none").rename(none)
    image = min((folder_of(results, "retom") / "images").iterdir())
    image.rename(results / image.name)
    refused("lacks 1 of its 2 images")
    (results / image.name).rename(image)
    record = record_of(results, "retom")
    record |= {"status": "failed", "error": {"sentence": "no", "traceback": "no"}}
    (folder_of(results, "retom") / "record.json").write_text(json.dumps(record))
    refused("is of a run that failed")
    assert not list((results.parent / "submissions").glob("*/*/*"))


def test_a_submission_over_the_limit_is_not_packed(results, command, capsys, monkeypatch) -> None:
    monkeypatch.setattr(pack, "LIMIT", 10_000)
    assert packed(command, results) == 1
    assert "MB are allowed; submit a protocol with smaller images" in capsys.readouterr().err


def test_the_fixed_images_are_spread_evenly() -> None:
    files = [f"{index:03d}" for index in range(100)]
    assert layout.fixed_images(files) == [f"{index:03d}" for index in range(0, 100, 10)]
    assert layout.fixed_images(files[:3]) == files[:3]
    assert len(set(layout.fixed_images(files[:11]))) == 10


PAIRS = """from dataclasses import dataclass
import retom
@dataclass(frozen=True)
class Mine(retom.ReToM):
    pass
"""


@pytest.mark.parametrize("layout_of", ["mine_package/__init__.py", "mine_namespace/method.py", "mine_module.py"])
def test_a_method_of_your_own_package_is_packed(
    layout_of, results, session, command, capsys, tmp_path, monkeypatch
) -> None:
    code = tmp_path / "code" / layout_of
    code.parent.mkdir(parents=True)
    code.write_text(PAIRS, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    package = layout_of.partition("/")[0].removesuffix(".py")
    target = f"{package}.method.Mine" if layout_of.endswith("method.py") else f"{package}.Mine"
    choices = ("method=retom", f"method._target_={target}", "runs=packed", "timing=smoke", "timing.images=6")
    shutil.rmtree(folder_of(results, "retom"))
    config = composed(*SMALLEST, *choices, f"trusted=[{package}]", f"results={results}")
    run_row(read_row(*config), session)
    assert packed(command, results) == 1
    assert f"trusted=[{package}]" in capsys.readouterr().err
    assert packed(command, results, "retom", "A. Name", f"trusted=[{package}]") == 1
    assert "url" in capsys.readouterr().err  # no distribution holds it
    assert packed(command, results, "retom", "A. Name", f"trusted=[{package}]", "url=example.org/mine") == 0
    (path,) = (results.parent / "submissions").glob("retom/*/*/method.json")
    source = json.loads(path.read_text(encoding="utf-8"))["source"]
    assert source["package"] == package
    assert source["sha256"] == hash_of_folders([code if layout_of.endswith("module.py") else code.parent])
    assert checked(command, results) == 0, capsys.readouterr().out

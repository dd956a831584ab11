"""`make claims` and `make verify` as a user types them: what the records say, and whether they still say it."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

import scripts.claims
import scripts.gates
import scripts.run
import scripts.tables
import scripts.verify
from eval.generation.images import write_png
from eval.records.gates import read_references, reference_key
from eval.run.check import check
from scripts.command_line.entry import ROOT
from scripts.jobs.row import read_row
from tests.scripts.conftest import SMALLEST, composed

CHOICES = ("experiment=smoke", *SMALLEST, "sampler.steps=1", "prompts.classes=5", "prompts.images_per_class=2")


def claim(path: Path, method: str, against: str, metric: str) -> dict:
    found = json.loads(path.read_text())["claims"]
    return next(c for c in found if (c["method"], c["against"], c["metric"]) == (method, against, metric))


def test_claims_are_judged_from_records_and_from_images(command, tmp_path: Path, capsys) -> None:
    choices = (*CHOICES, "timing=off")
    assert command(scripts.run, "--multirun", *choices, "method=none,retom,retom_random") == 0
    assert command(scripts.claims, *choices) == 0  # rows are missing: scripts.tables fails, and the claims name them
    path = tmp_path / "smoke" / "claims.json"
    from_record = claim(path, "retom", "none", "fid_smoke")
    record = json.loads(next((tmp_path / "runs" / "smoke").glob("retom-*/record.json")).read_text())
    assert from_record["difference"] == record["metrics"]["fid_smoke"]["differences"]["none"]["value"]
    assert from_record["verdict"] in ("supported", "contradicted", "undecided")
    computed = claim(path, "retom", "retom_random", "fid_smoke")
    assert computed["difference"] == computed["ours"] - computed["base"] != 0
    low, high = computed["interval"]
    assert low < computed["difference"] < high
    assert claim(path, "retom", "tomesd", "fid_smoke")["why"] == "missing rows: ToMeSD"
    printed = capsys.readouterr().out
    assert "The representative token beats a random one in FID" in printed
    assert "|" not in printed
    assert "| The representative token beats a random one in FID |" in path.with_suffix(".md").read_text()


def test_a_baseline_outside_the_reference_marks_table_claims_and_exit_status(command, tmp_path: Path, capsys) -> None:
    choices = (*CHOICES, "timing=off", f"gates={tmp_path / 'gates.json'}")
    assert command(scripts.run, *choices, "method=none") == 0
    assert command(scripts.gates, *choices) == 0
    references = json.loads((tmp_path / "gates.json").read_text())
    references["references"][0]["metrics"]["fid_smoke"]["value"] *= 1.05
    (tmp_path / "gates.json").write_text(json.dumps(references))
    assert command(scripts.tables, *choices) == 1
    assert "gate baseline failed: fid_smoke" in capsys.readouterr().err
    assert ",failed: baseline\n" in (tmp_path / "smoke" / "table2.csv").read_text()
    assert command(scripts.claims, *choices) == 1
    assert "fid_smoke" in claim(tmp_path / "smoke" / "claims.json", "retom", "none", "fid_smoke")["why"]


def test_a_record_is_verified_from_its_images_alone(command, tmp_path: Path, capsys) -> None:
    assert command(scripts.run, "--multirun", *CHOICES, "timing=off", "method=none,retom") == 0
    (folder,) = (tmp_path / "runs" / "smoke").glob("retom-*")
    run = f"run=smoke/{folder.name}"
    for cached in (tmp_path / "cache" / "features").glob("*.npz"):
        np.savez(cached, values=np.full((10, 3), 7.0))  # it must not be asked
    assert command(scripts.verify, run) == 0
    printed = capsys.readouterr().out
    assert "equal  fid_smoke" in printed
    assert "different" not in printed

    record = json.loads((folder / "record.json").read_text())
    record["metrics"]["clip_smoke"]["value"] += 0.01
    (folder / "record.json").write_text(json.dumps(record))
    assert command(scripts.verify, run) == 1
    assert "different  clip_smoke: value" in capsys.readouterr().out
    record["metrics"]["clip_smoke"]["value"] -= 0.01
    (folder / "record.json").write_text(json.dumps(record))

    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text("{")
    assert command(scripts.verify, run) == 1
    assert "different  config.yaml: cannot be read" in capsys.readouterr().out
    (folder / "config.yaml").write_text(config)

    picture = next((folder / "images").iterdir())
    write_png(picture, 255 - np.asarray(Image.open(picture).convert("RGB")))
    assert command(scripts.verify, run) == 1
    assert "different  fid_smoke" in capsys.readouterr().out
    picture.unlink()
    assert command(scripts.verify, run) == 1
    assert "different  images: 1 of 10 are missing" in capsys.readouterr().out


def test_a_run_that_is_not_there_is_said(command, capsys) -> None:
    assert command(scripts.verify, "run=smoke/retom-000000000000") == 1
    assert "there is no run " in capsys.readouterr().err
    for name in ("", "../x", "retom"):
        assert command(scripts.verify, f"run={name}") == 1
        assert "run must name a run" in capsys.readouterr().err


def test_the_smoke_baseline_has_a_reference_run(session) -> None:
    checked = check(read_row(*composed("experiment=smoke", "method=none")), session.reference)
    keys = {entry["key"] for entry in read_references(ROOT / "results" / "gates.json")}
    assert reference_key(checked.protocol) in keys, "python -m scripts.gates experiment=smoke records one"

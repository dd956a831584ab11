"""The bench's timer, its figures, its probes and its tables."""

import csv
import json
import traceback
import weakref
from pathlib import Path

import pytest
import torch

from eval.provenance import collect
from eval.speed.bench.cells import Cell, expand
from eval.speed.bench.denoisers import denoiser_inputs, random_denoiser, sharing_copy
from eval.speed.bench.figures import ratios, spread, time_per_call
from eval.speed.bench.interleave import Case, interleave
from eval.speed.bench.probes import kernel_launches, peak_bytes
from eval.speed.bench.table import COLUMNS, render, write_bench
from tests.eval.speed.bench.fake_clock import with_fake_clock

ROOT = Path(__file__).parents[4]
SITE = {"level": "site", "shapes": [[64, 32, 2]], "methods": ["none"], "rounds": 3}


def test_a_failed_call_leaves_nothing_in_memory():
    held = []

    def call():
        tensor = torch.ones(3)
        held.append(weakref.ref(tensor))
        raise RuntimeError("out of memory")

    found = interleave([Case("bad", call)], rounds=1, warmup=1, device="cpu")["bad"]
    assert str(found.error) == "out of memory"
    assert held[0]() is None
    assert traceback.extract_tb(found.error.__traceback__)[-1].name == "call"  # it can still be reported where


def test_all_axes_are_combined():
    cells = expand({"a": {**SITE, "shapes": [[64, 32, 2], [16, 8, 1]], "ratio": [0.25, 0.5], "batch": [1, 2]}}, "cpu")
    assert len(cells) == 8
    assert {(cell.tokens, cell.ratio, cell.batch) for cell in cells} == {
        (tokens, ratio, batch) for tokens in (64, 16) for ratio in (0.25, 0.5) for batch in (1, 2)
    }
    assert cells[0].grid == (8, 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shapes": [[60, 32, 2]]}, "cells.a: tokens must be a square number"),
        ({"shapes": [[64, 32, 3]]}, "channels must be a multiple of heads, got 32 and 3"),
        ({"attention": ["flash"]}, "attention must be one of sdpa, naive, got 'flash'"),
        ({"mode": ["jit"]}, "mode must be one of eager, default"),
        ({"dtype": "float32"}, "dtype must be a list of at least one value, got 'float32'"),
        ({"rounds": 0}, "rounds must be an integer of at least 1, got 0"),
        ({"pixel": 3}, "unknown key 'pixel'; allowed are"),
        ({"level": "house"}, "level must be one of site, denoiser, pipeline, got 'house'"),
        ({"level": "denoiser", "shapes": None}, "unknown key 'shapes'"),
        ({"methods": []}, "methods must be a list of at least one value, got \\[\\]"),
        ({"methods": "none"}, "methods must be a list of at least one value, got 'none'"),
        ({"methods": ["none", "none"]}, "methods must name each method once, got none, none"),
        ({"shapes": [64, 32, 2]}, r"shapes must be lists \[tokens, channels, heads\], got 64"),
        ({"shapes": None}, "shapes must be a list of at least one value, got None"),
        ({"warmup": None}, "warmup must be an integer of at least 0, got None"),
    ],
)
def test_bad_cells_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        expand({"a": {**SITE, **changes}}, "cpu")


def test_a_family_that_is_no_mapping_is_named():
    with pytest.raises(ValueError, match=r"cells\.a: must be a mapping with the keys level, .*, got 5"):
        expand({"a": 5}, "cpu")


def test_methods_take_turns_after_their_warm_up():
    calls = []
    cases = [Case(name, lambda name=name: calls.append(name), lambda name=name: calls.append(name.upper()))
             for name in ("a", "b", "c")]  # fmt: skip
    samples = interleave(cases, rounds=20, warmup=2, device="cpu")
    warm, rest = calls[:12], calls[12:]
    assert warm == ["A", "a", "a", "A", "B", "b", "b", "B", "C", "c", "c", "C"]
    rounds = [rest[start : start + 3] for start in range(0, 60, 3)]
    assert all(sorted(order) == ["a", "b", "c"] for order in rounds)
    assert len({tuple(order) for order in rounds}) > 2
    assert {name: len(sample.seconds) for name, sample in samples.items()} == {"a": 20, "b": 20, "c": 20}


def test_a_failing_method_is_left_out_and_keeps_its_error():
    calls = []

    def fail_later():
        calls.append(1)
        if len(calls) > 2:
            raise RuntimeError("no more")

    samples = interleave([Case("good", lambda: None), Case("bad", fail_later)], rounds=5, warmup=1, device="cpu")
    assert str(samples["bad"].error) == "no more"
    assert len(calls) == 3
    assert samples["good"].error is None
    assert len(samples["good"].seconds) == 5


def test_every_pth_call_is_slow_and_counts_once_in_p(monkeypatch):
    clock, place = with_fake_clock(monkeypatch), 0

    def begin():
        nonlocal place
        place = 0

    def call():
        nonlocal place
        clock.sleep(0.03 if place % 3 == 0 else 0.005)
        place += 1

    sample = interleave([Case("a", call, begin, period=3)], rounds=9, warmup=2, device="cpu")["a"]
    assert sample.seconds == pytest.approx([0.03, 0.005, 0.005] * 3)
    assert time_per_call(sample.seconds, 3) == pytest.approx((0.03 + 2 * 0.005) / 3)


def test_the_figures_are_exact():
    assert time_per_call([10.0, 1.0, 2.0, 30.0, 3.0, 2.0, 20.0, 2.0, 2.0], 3) == pytest.approx((20 + 2 + 2) / 3)
    assert time_per_call([3.0, 1.0, 2.0], 1) == 2.0
    assert spread([1.0, 2.0, 3.0, 4.0, 5.0]) == 2.0
    with pytest.raises(ValueError, match="rounds must be at least the period, 4, got 3"):
        time_per_call([1.0, 1.0, 1.0], 4)
    table = ratios({"none": [4.0, 4.0], "oracle": [2.0, 2.0], "a": [6.0, 2.0]}, {"none": 1, "oracle": 1, "a": 2})
    assert (table["a"]["to_none"], table["a"]["to_oracle"], table["a"]["to_tomesd"]) == (1.0, 2.0, None)
    assert table["a"]["to_oracle_iqr"] == pytest.approx(1.0)  # of 3 and 1


def test_peak_memory_is_what_is_held_at_once():
    x = torch.zeros(1000)

    def call():
        first = x + 1
        second = first + 1
        del first
        return second + 1

    def thrifty():
        return (x + 1).add_(1)

    scalars = 100  # each constant is a tensor of a few bytes for a moment
    assert 8000 <= peak_bytes(call, "cpu") < 8000 + scalars
    assert 4000 <= peak_bytes(thrifty, "cpu") < 4000 + scalars
    assert kernel_launches(thrifty, "cpu") is None


def test_copies_share_weights_and_nothing_else():
    cell = Cell("denoiser", ("none",), 1, model="tiny", pixels=64, attention="naive")
    state = torch.get_rng_state()
    unet = random_denoiser(cell)
    assert torch.equal(torch.get_rng_state(), state)
    copy = sharing_copy(unet)
    assert all(ours is theirs for ours, theirs in zip(unet.parameters(), copy.parameters(), strict=True))
    assert not set(map(id, unet.modules())) & set(map(id, copy.modules()))
    inputs = denoiser_inputs(cell, unet)
    with torch.no_grad():
        outputs = [model(timestep=torch.tensor(7), **inputs).sample for model in (unet, copy)]
    assert torch.equal(*outputs)


def sample_row(**changes) -> dict:
    place = {"level": "site", "title": "site N=64", "tokens": 64, "dtype": "float32", "batch": 2}
    row = {"method": "none", "status": "ok", "seconds": 0.25, "iqr": 0.01, "to_oracle": 2.0, "samples": [0.25, 0.25]}
    return {**dict.fromkeys(COLUMNS), **place, **row, **changes}


def test_tables_hold_every_row_with_its_provenance(tmp_path):
    rows = [sample_row(), sample_row(method="bad", status="failed", error="it broke | here", seconds=None, iqr=None)]
    provenance = collect(root=tmp_path)
    paths = write_bench(tmp_path, "cuda", rows, provenance, {"bench": {}})
    assert [path.name for path in paths] == ["bench_cuda.csv", "bench_cuda.json", "bench_cuda.md"]
    lines = list(csv.DictReader(paths[0].read_text(encoding="utf-8").splitlines()))
    assert list(lines[0]) == list(COLUMNS)
    assert [(line["method"], line["status"]) for line in lines] == [("none", "ok"), ("bad", "failed")]
    assert lines[0]["torch"] == torch.__version__.partition("+")[0]
    assert lines[1]["error"] == "it broke | here"
    kept = json.loads(paths[1].read_text(encoding="utf-8"))
    assert kept["rows"][0]["samples"] == [0.25, 0.25]
    page = paths[2].read_text(encoding="utf-8")
    assert "| none | 250 | 10 |  | 2.000 |" in page
    assert "- bad failed: it broke" in page


def test_another_process_on_the_gpu_is_said():
    rows = [sample_row(other_gpu_processes=1, device_name="d", date="now", commit=None, torch="2", threads=1)]
    assert "none: 1 other processes on the GPU" in render(rows)


def test_rows_of_other_attention_kernels_are_said():
    facts = {"device_name": "d", "date": "now", "commit": None, "torch": "2", "threads": 1}
    rows = [sample_row(**facts, method=name, attention_kernel="flash2 d=40") for name in ("none", "retom")]
    assert "Attention: flash2 d=40." in render(rows)
    rows += [sample_row(**facts, method="toma", attention_kernel="efficient d=40")]
    assert "kernels differ, so ratios do not show merging alone.** none, retom: flash2 d=40; toma: eff" in render(rows)


def test_the_best_batch_of_a_pipeline_is_named():
    facts = {"level": "pipeline", "device_name": "d", "date": "now", "commit": None}
    rows = [
        sample_row(**facts, batch=1, s_per_im=2.0, images_per_s=0.5, title="pipeline x, batch 1"),
        sample_row(**facts, batch=4, s_per_im=0.5, images_per_s=2.0, title="pipeline x, batch 4"),
    ]
    assert "| pipeline x | none | 2.000 | 2.000 | 4 |" in render(rows)


def test_every_column_is_in_the_dictionary():
    text = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    names = [name for name in COLUMNS if not name.endswith("_iqr")]
    assert [name for name in names if f"`{name}`" not in text] == []

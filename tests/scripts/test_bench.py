"""The bench from its configuration to its rows, on the tiny model and tiny sites."""

import csv
import dataclasses
import json
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import retom
from eval.errors import RunError
from eval.generation.models.diffusion_transformers import TRANSFORMERS
from eval.speed.bench import denoisers
from eval.speed.bench.cells import Cell, expand
from scripts.bench import run_bench
from scripts.bench_cases.cell import measure_cell
from scripts.bench_cases.methods import Clock, clocked, contender
from scripts.bench_cases.site import site_case, site_inputs, site_model
from scripts.command_line.entry import CONF
from tests.eval import tiny_families

GRIDS = sorted(path.stem for path in (CONF / "bench").glob("*.yaml"))


@pytest.fixture
def hydra():
    """Methods are composed while Hydra runs, as in the command itself."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield lambda *overrides: OmegaConf.to_container(compose("bench", overrides=list(overrides)), resolve=True)


def site(*methods: str, **changes) -> Cell:
    options = {"tokens": 64, "channels": 32, "heads": 2, "rounds": 4, "warmup": 1} | changes
    return Cell("site", methods, **options)


@pytest.mark.parametrize("grid", GRIDS)
def test_every_grid_names_methods_that_build_and_periods_that_fit(hydra, grid):
    bench = hydra(f"bench={grid}")["bench"]
    cells = expand(bench["cells"], bench["device"])
    names = {name for cell in cells for name in cell.methods}
    built = {name: contender(name, bench["methods"], 0.5) for name in names if not name.endswith("_triton")}
    assert {"none", "oracle", "tomesd"} <= set(built)
    for cell in cells:
        if cell.model in TRANSFORMERS:
            assert "tomesd" not in cell.methods  # the package serves U-Nets alone
    assert all(built[name].period <= cell.rounds for cell in cells for name in cell.methods
               if name in built and cell.level != "pipeline")  # fmt: skip


def test_a_site_is_merged_as_it_says(hydra):
    methods = ("none", "oracle", "tomesd", "tomesd_plan", "atc", "retom_w2_p1", "retom_w8_p1", "retom_w2_p1_matmul")
    rows = {row["method"]: row for row in measure_cell(site(*methods), hydra()["bench"]["methods"])}
    assert {name: row["status"] for name, row in rows.items()} == dict.fromkeys(methods, "ok")
    assert {name: row["merged"] for name, row in rows.items()} == {"none": None} | dict.fromkeys(methods[1:], 32)
    assert rows["oracle"]["to_oracle"] == rows["none"]["to_none"] == 1.0
    assert rows["retom_w2_p1"]["to_tomesd"] == pytest.approx(rows["retom_w2_p1"]["seconds"] / rows["tomesd"]["seconds"])
    assert rows["none"]["merging_to_input"] == 0
    assert rows["oracle"]["merging_to_input"] == 1.0  # the repeated output, and nothing else
    assert 0 < rows["retom_w2_p1"]["planning_share"] < 1
    assert rows["none"]["planning_share"] is None


def test_methods_that_merge_keys_and_values_alone_are_probed_as_well(hydra):
    (row,) = measure_cell(site("todo"), hydra()["bench"]["methods"])
    assert (row["status"], row.get("error")) == ("ok", None)
    assert row["merging_to_input"] > 0


def test_a_site_computes_the_attention_alone(hydra):
    cell = site("none", "tomesd")
    model, inputs = site_model(cell), site_inputs(cell)
    tokens = inputs[1].flatten(2).transpose(1, 2)
    assert tokens.is_contiguous()
    attention = model.site.transformer_blocks[0].attn1
    case, _ = site_case(cell, contender("none", hydra()["bench"]["methods"], 0.5), model, inputs)
    with torch.no_grad():
        assert torch.equal(case.call(), attention(tokens))


def test_plans_are_made_every_pth_call(hydra):
    specs = hydra("+bench.methods.every3={method: retom, window: 2, period: 3}")["bench"]["methods"]
    cell = site("every3")
    case, report = site_case(cell, contender("every3", specs, 0.5), site_model(cell), site_inputs(cell))
    assert case.period == 3
    case.begin()
    planned = []
    with torch.no_grad():
        for _ in range(7):
            case.call()
            planned.append(case.planned() > 0)
    assert planned == [True, False, False] * 2 + [True]
    assert (report()[0]["plans_computed"], report()[0]["plans_reused"]) == (3, 4)


def test_the_clock_changes_no_attribute_of_a_method(hydra):
    method = contender("retom_p5", hydra()["bench"]["methods"], 0.25).method
    on_clock = clocked(method, Clock("cpu"))
    assert isinstance(on_clock, type(method))
    assert vars(on_clock) == vars(method)


def test_what_fails_is_a_row_with_its_message(hydra):
    specs = hydra()["bench"]["methods"] | {"idle": {"method": "retom", "window": 1, "period": 1}}
    cell = site("none", "tomesd", "retom_w2_p20", "idle", "nobody", ratio=0.9)
    rows = {row["method"]: row for row in measure_cell(cell, specs)}
    assert rows["none"]["status"] == "ok"
    errors = {name: row["error"] for name, row in rows.items() if row["status"] == "failed"}
    assert list(errors) == ["tomesd", "retom_w2_p20", "idle", "nobody"]
    assert "ratio must be at most 0.75" in errors["tomesd"]
    assert "rounds must be at least the period of retom_w2_p20, 20, got 4" in errors["retom_w2_p20"]
    assert "idle merged nothing at any of its 1 sites" in errors["idle"]
    assert "unknown method 'nobody'" in errors["nobody"]
    assert rows["none"]["to_oracle"] is None


@dataclasses.dataclass(frozen=True)
class FirstHalf(retom.TokenMerger):
    """A user's own method: both halves of the tokens, averaged."""

    def plan(self, metric, grid, context):
        half = torch.arange(metric.shape[1] // 2).expand(metric.shape[0], -1)
        return retom.MergePlan.from_clusters(torch.cat([half, half], dim=1), None, half)


def test_a_method_of_your_own_is_timed_where_it_is_trusted(hydra):
    own = {"method": "none", "_target_": f"{__name__}.FirstHalf"}
    specs = hydra()["bench"]["methods"] | {"own": own}
    assert "trusted=[tests]" in measure_cell(site("own"), specs)[0]["error"]
    row = measure_cell(site("own"), specs, trusted=["tests"])[0]
    assert (row["status"], row["merged"]) == ("ok", 32)


def test_scores_that_do_not_fit_are_refused(hydra):
    cell = site("none", attention="naive", tokens=2**20, batch=64)
    rows = measure_cell(cell, hydra()["bench"]["methods"])
    assert "naive attention over 1048576 tokens needs" in rows[0]["error"]


def test_naive_attention_is_naive(hydra):
    rows = measure_cell(site("none", attention="naive"), hydra()["bench"]["methods"])
    assert rows[0]["status"] == "ok"
    processor = site_model(site("none", attention="naive")).site.transformer_blocks[0].attn1.processor
    assert type(processor).__name__ == "AttnProcessor"


def read_lines(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def configured(hydra, folder, **cells) -> dict:
    config = hydra(f"results={folder}")
    config["bench"]["cells"] = cells
    return config


TINY_SITE = {"level": "site", "shapes": [[64, 32, 2]], "rounds": 2, "warmup": 1}
TINY_MODEL = {"models": ["tiny"], "pixels": [64], "rounds": 2, "warmup": 1}


@pytest.mark.slow
def test_the_complete_command_writes_its_tables(hydra, tmp_path):
    config = configured(
        hydra,
        tmp_path,
        site={**TINY_SITE, "methods": ["none", "oracle", "retom_w2_p1"]},
        unet={**TINY_MODEL, "level": "denoiser", "methods": ["none", "oracle", "tomesd", "retom_p1"]},
        images={
            **TINY_MODEL,
            "level": "pipeline",
            "steps": 2,
            "methods": ["none", "retom_p20"],
            "batch": [1, 2],
            "rounds": 1,
        },
    )
    assert run_bench(config) == 0
    lines = read_lines(tmp_path / "bench_cpu.csv")
    assert [line["level"] for line in lines] == ["site"] * 3 + ["denoiser"] * 4 + ["pipeline"] * 4
    assert {line["status"] for line in lines} == {"ok"}
    assert [line["sites_merging"] for line in lines[3:7]] == ["0", "16", "16", "16"]
    kept = json.loads((tmp_path / "bench_cpu.json").read_text(encoding="utf-8"))
    assert [len(row["samples"]) for row in kept["rows"]] == [2] * 7 + [1] * 4
    assert "## Whole images" in (tmp_path / "bench_cpu.md").read_text(encoding="utf-8")


UNSERVED = {
    "pixart": {"tomesd": "tomesd patches U-Nets", "deepcache": "DeepCache wraps the blocks of a UNet2DConditionModel"},
    "sd3": {"oracle": "the oracle does not support", "todo": "must be one or more of self, ff (its self-attention"},
    "flux": {"ibtm": "without halves to compare", "fewer_steps": "fewer steps need a pipeline with a scheduler"},
}


@pytest.mark.parametrize("model", list(UNSERVED))
def test_transformers_are_timed_and_what_cannot_serve_them_is_a_row(hydra, monkeypatch, model):
    kind, _ = TRANSFORMERS[model]
    monkeypatch.setitem(TRANSFORMERS, model, (kind, tiny_families.TRANSFORMERS[model]))
    methods = ("none", "retom_p1", "tomesd_plan", *UNSERVED[model])
    cell = Cell("denoiser", methods, 2, warmup=1, model=model, pixels=64, batch=1)
    rows = {row["method"]: row for row in measure_cell(cell, hydra()["bench"]["methods"], memory=False)}
    for name in ("none", "retom_p1", "tomesd_plan"):
        assert rows[name]["status"] == "ok", rows[name]
    assert rows["retom_p1"]["merged"] == 8 * rows["retom_p1"]["sites"]  # of 16 tokens at 64 px
    for name, sentence in UNSERVED[model].items():
        assert rows[name]["status"] == "failed"
        assert sentence in rows[name]["error"]


def test_weights_that_do_not_fit_are_rows_and_not_the_end(hydra, monkeypatch):
    monkeypatch.setattr(denoisers, "free_bytes", lambda device: 30e9)
    rows = measure_cell(Cell("denoiser", ("none",), 1, model="flux", pixels=64), hydra()["bench"]["methods"])
    assert "the weights of flux in float32 take 48 GB, 30 GB are free" in rows[0]["error"]


def test_a_failed_row_is_the_exit_status(hydra, tmp_path):
    config = configured(hydra, tmp_path, site={**TINY_SITE, "methods": ["none", "tomesd"], "ratio": [0.8]})
    assert run_bench(config) == 1
    lines = read_lines(tmp_path / "bench_cpu.csv")
    assert [line["status"] for line in lines] == ["ok", "failed"]


def test_a_grid_with_a_name_has_files_of_its_own(hydra, tmp_path):
    config = configured(hydra, tmp_path, a={**TINY_SITE, "methods": ["none"]})
    config["bench"]["name"] = "axes"
    assert run_bench(config) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "bench_cpu_axes.csv",
        "bench_cpu_axes.json",
        "bench_cpu_axes.md",
    ]


def test_no_two_grids_write_the_same_files(hydra):
    grids = [hydra(f"bench={grid}")["bench"] for grid in GRIDS]
    assert len({(grid["device"], grid["name"]) for grid in grids}) == len(GRIDS)


def test_time_covers_complete_cycles_of_planning(hydra):
    specs = hydra()["bench"]["methods"]
    periods = {name: contender(name, specs, 0.5).period for name in ("none", "oracle", "tomesd", "retom_p5", "toma")}
    assert periods == {"none": 1, "oracle": 1, "tomesd": 1, "retom_p5": 5, "toma": 10}  # toma picks at every tenth


def test_some_of_the_cells_can_be_chosen(hydra, tmp_path):
    config = configured(
        hydra,
        tmp_path,
        a={**TINY_SITE, "methods": ["none"]},
        b={**TINY_SITE, "methods": ["none"], "dtype": ["bfloat16"]},
    )
    config["bench"]["only"] = ["b"]
    assert run_bench(config) == 0
    assert [line["dtype"] for line in read_lines(tmp_path / "bench_cpu_b.csv")] == ["bfloat16"]
    assert not (tmp_path / "bench_cpu.csv").exists()  # a part replaces no whole
    config["bench"]["only"] = ["c"]
    with pytest.raises(RunError, match=r"bench\.only names c, which is not a cell; allowed are a, b"):
        run_bench(config)


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"only": "a"}, RunError, r"bench\.only must be a list of cells, \[a\] for one, or null for all"),
        ({"threads": 0}, ValueError, "threads must be an integer of at least 1, got 0"),
        ({"threads": "two"}, ValueError, "threads must be an integer of at least 1, got 'two'"),
        ({"cells": None}, RunError, "there is no cell to measure"),
        ({"cells": {"a": {**TINY_SITE, "methods": ["retom_w2"]}}}, RunError, "the nearest is retom_w2_p"),
    ],
)
def test_what_is_wrong_is_reported_before_anything_is_measured(hydra, tmp_path, changes, kind, message):
    config = configured(hydra, tmp_path, a={**TINY_SITE, "methods": ["none"]})
    config["bench"] |= changes
    threads = torch.get_num_threads()
    with pytest.raises(kind, match=message):
        run_bench(config)
    assert (list(tmp_path.iterdir()), torch.get_num_threads()) == ([], threads)

"""The experiments beyond the paper's tables: every row of every sweep composes and builds on the tiny model."""

import itertools

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from eval.tables.spec import TableSpec
from scripts.command_line.entry import CONF
from scripts.jobs.row import build
from tests.scripts.conftest import composed

EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
SWEEPS = (
    "next_check_2",
    "next_check_3",
    "ablate_alpha",
    "ablate_ratio",
    "ablate_source",
    "ablate_metric",
    "similarity",
    "sweep_p",
    "sweep_alpha",
    "sweep_ratio",
    "sweep_grid",
    "damage",
)


def jobs(experiment: str) -> list[tuple[str, ...]]:
    """The overrides of every job that --multirun starts, as Hydra's own sweeper reads them."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        params = compose(
            "config", overrides=[f"experiment={experiment}"], return_hydra_config=True
        ).hydra.sweeper.params
    overrides = OverridesParser.create().parse_overrides([f"{key}={value}" for key, value in params.items()])
    return list(itertools.product(*map(values, overrides)))


def values(override: Override) -> list[str]:
    """The overrides that a sweep makes of a parameter; of an interval, which a search draws from, the ends."""
    if override.is_interval_sweep():
        return [f"{override.get_key_element()}={end}" for end in (override.value().start, override.value().end)]
    if override.is_sweep_override():
        return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
    return [override.input_line]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_row_composes_and_builds(experiment):
    built = []
    for job in jobs(experiment):
        config, choices = composed(f"experiment={experiment}", "model=tiny_random", *job)
        options = OmegaConf.to_container(config.method, resolve=True)
        method = build("method", options, [options["_target_"].partition(".")[0]])  # a user's own is built like ours
        built.append((choices["method"], repr(method)))
    assert len(set(built)) == len(jobs(experiment))  # no two rows are the same


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_rows_of_the_tables_are_run(experiment):
    config, _ = composed(f"experiment={experiment}", "model=tiny_random")
    run = {override for job in jobs(experiment) for override in job if override.startswith("method=")}
    run |= {"method=none"} if experiment in (*SWEEPS, "damage_period1") else set()
    run |= {override for job in jobs("table1_controls") for override in job} if "extended" in experiment else set()
    run |= {job[0] for job in jobs("table1_extended")} if experiment == "table1_controls" else set()
    for data in OmegaConf.to_container(config.tables, resolve=True).values():
        assert {f"method={row.method}" for row in TableSpec.from_data(data).rows} <= run


@pytest.mark.parametrize("experiment", [*SWEEPS, "table1_extended"])
def test_a_sweep_holds_the_shipped_options_of_its_rows(experiment):
    """Otherwise the table's own row would be missing for good."""
    for method in {job[0] for job in jobs(experiment)}:
        shipped = OmegaConf.to_container(composed(method, "model=tiny_random")[0].method, resolve=True)
        if shipped.get("ratio", 0) is None:
            continue  # CA-ToMe as shipped has no ratio: its row is run by table1_controls
        swept = [
            composed(f"experiment={experiment}", "model=tiny_random", *job)[0].method
            for job in jobs(experiment)
            if job[0] == method
        ]
        assert shipped in [OmegaConf.to_container(options, resolve=True) for options in swept]


def test_next_check_1_is_a_square_of_two_questions():
    methods = {job[0].removeprefix("method=") for job in jobs("next_check_1")}
    made = {name: build("method", OmegaConf.to_container(composed(f"method={name}")[0].method)) for name in methods}
    square = {
        (made[name].destination, repr(made[name].window))
        for name in ("retom_fixed_2_random", "retom_random", "retom_fixed_2", "retom")
    }
    adaptive = repr({"down": 2, "mid": 8, "up": 2})
    assert square == {(token, window) for token in ("random", "representative") for window in ("2", adaptive)}
    fixed, moving = made["tomesd_every_depth"], made["tomesd_adaptive"]
    assert (fixed.max_downsample, fixed.window) == (None, 2)
    assert (moving.max_downsample, moving.window) == (None, {"down": 2, "mid": 8, "up": 2})


def test_next_check_3_merges_in_one_layer_type_at_a_time():
    windows = [composed(*job)[0].method.window for job in jobs("next_check_3")][1:]
    alone = [[(name, side) for name, side in window.items() if side > 1] for window in windows]
    assert all(len(one) == 1 for one in alone)
    assert {one[0] for one in alone} == {(name, side) for name in ("down", "mid", "up") for side in (2, 4, 8, 16)}

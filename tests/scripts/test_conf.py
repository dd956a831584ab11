"""Every choice of every group composes and builds, and the experiments are the paper's tables."""

import dataclasses
from pathlib import Path

import hydra.utils
import pytest
from omegaconf import OmegaConf

from eval.metrics.networks.tiny import TinyClip, TinyFeatures
from eval.metrics.profiles import SmokeMetrics
from eval.tables.spec import TableSpec
from scripts.command_line.entry import CONF
from scripts.jobs.row import BUILT, build
from scripts.tables import method_labels
from tests.scripts.conftest import composed, trusting

# The bench starts from conf/bench.yaml; its choices are composed in test_bench.py.
CHOICES = sorted(
    path.relative_to(CONF).with_suffix("")
    for group in (*BUILT, "backend", "experiment", "tracker")
    for path in CONF.glob(f"{group}/*.yaml")
)


def built(*overrides: str) -> dict:
    config, _ = composed(*overrides)
    plain = OmegaConf.to_container(config, resolve=True)
    if plain["reference"].get("path", "") is None:
        plain["reference"]["path"] = "given"  # the shipped choices leave it to the user
    return {group: build(group, plain[group], plain["trusted"]) for group in (*BUILT, "tracker")}


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_every_choice_composes_and_builds(choice: Path) -> None:
    group, name = choice.parts
    built(f"{group}={name}", trusting(CONF / f"{choice}.yaml"))


@pytest.mark.parametrize("path", sorted((CONF / "method").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_method_lists_every_option_it_has(path: Path) -> None:
    """Hydra lets the command line change listed keys only."""
    options = OmegaConf.to_container(OmegaConf.load(path))
    if "defaults" not in options:
        target = hydra.utils.get_class(options.pop("_target_"))
        assert set(options) == {field.name for field in dataclasses.fields(target) if field.init}


def test_the_trained_tiny_model_brings_what_fits_it() -> None:
    made = built("model=tiny")
    assert (made["model"].kind, made["reference"].kind) == ("shipped", "moments")
    assert (made["sampler"].height, made["sampler"].device, made["sampler"].dtype) == (64, "cpu", "float32")
    assert made["metrics"].profile == "smoke"
    assert isinstance(made["metrics"].features, TinyFeatures)
    assert isinstance(made["metrics"].clip, TinyClip)
    assert len(made["prompts"].selected()) == 20


def test_the_tiny_random_model_brings_what_fits_it() -> None:
    made = built("model=tiny_random")
    assert (made["sampler"].height, made["sampler"].device, made["sampler"].dtype) == (64, "cpu", "float32")
    assert made["metrics"] == SmokeMetrics()
    assert made["reference"].kind == "synthetic"
    assert len(made["prompts"].items()) <= 16


def test_the_command_line_wins_over_what_a_model_brings() -> None:
    made = built(
        "model=tiny_random", "sampler=cpu", "reference=imagenet_folder", "reference.path=images", "metrics=none"
    )
    assert (made["sampler"].height, made["sampler"].steps) == (512, 50)
    assert (made["reference"].kind, made["reference"].path) == ("folder", "images")
    assert made["metrics"].profile == "none"


def test_the_default_sampling_is_the_papers() -> None:
    made = built()
    sampler = made["sampler"]
    assert (sampler.steps, sampler.guidance, sampler.height, sampler.width) == (50, 7.5, 512, 512)
    assert len(made["prompts"].items()) == 2000
    assert made["reference"].per_class * 1000 == 5000
    assert made["method"].period == 20
    assert dict(made["method"].window) == {"down": 2, "mid": 8, "up": 2}


@pytest.mark.parametrize(
    ("choice", "field", "value"),
    [
        ("retom_fixed_2", "window", 2),
        ("retom_fixed_8", "window", 8),
        ("retom_fixed_16", "window", 16),
        ("retom_random", "destination", "random"),
        ("retom_least", "destination", "least"),
    ],
)
def test_the_retom_rows_differ_in_one_thing(choice: str, field: str, value: object) -> None:
    ours = OmegaConf.to_container(composed("method=retom")[0].method)
    other = OmegaConf.to_container(composed(f"method={choice}")[0].method)
    assert {key for key in ours if ours[key] != other[key]} == {field}
    assert other[field] == value


@pytest.mark.parametrize("name", ["table1", "table2", "smoke"])
def test_an_experiment_sweeps_over_the_rows_of_its_tables(name: str) -> None:
    config, _ = composed(f"experiment={name}")
    methods = sweep_of(name)
    for data in OmegaConf.to_container(config.tables).values():
        rows = TableSpec.from_data(data).rows
        assert {row.method for row in rows} <= set(methods)
        assert [m for m in methods if m in {row.method for row in rows}] == [row.method for row in rows]
    assert methods[0] == "none"


def test_both_tables_share_their_runs() -> None:
    assert composed("experiment=table1")[0].runs == composed("experiment=table2")[0].runs == "table1"


def test_the_papers_values_stand_in_the_recipe() -> None:
    config, _ = composed("experiment=smoke")
    first = {row.method: dict(row.paper) for row in config.tables.table1.rows}
    assert first["none"] == {"fid": 37.02, "clip": 38.10, "s_per_im": 2.62}
    assert first["atc"]["s_per_im"] == 110.25
    assert first["retom"] == {"fid": 34.89, "clip": 39.40, "s_per_im": 2.17}
    assert [row.paper.ssim for row in config.tables.table2.rows] == [0.74, 0.72]


def sweep_of(experiment: str) -> list[str]:
    recipe = OmegaConf.load(CONF / "experiment" / f"{experiment}.yaml")
    return recipe.hydra.sweeper.params.method.split(",")


def test_every_method_has_one_name() -> None:
    """conf/labels.yaml names every choice of conf/method; no two alike."""
    labels = method_labels()
    assert set(labels) == {path.stem for path in (CONF / "method").glob("*.yaml")}
    assert len(set(labels.values())) == len(labels)

"""A search by Optuna's sweeper: rows like any others, judged by the objective, and resumed again."""

from pathlib import Path

import pytest
import yaml

import scripts.run
from tests.scripts.conftest import SMALLEST

# The plugin asks for an Optuna of before SQLAlchemy 2.
pytestmark = pytest.mark.filterwarnings(r"ignore:.*declarative_base\(\)")
TIMING = ("timing=smoke", "timing.warmup=0", "timing.images=1")


def test_a_search_keeps_its_rows_names_the_best_and_goes_on_where_it_was(command, tmp_path: Path, capsys) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    choices = ["--multirun", "experiment=search", *SMALLEST, "sampler.steps=1", *TIMING, "objective.s_per_im=1000"]
    choices.append("objective.metric=clip")  # an FID wants more than two images
    fixed = ["method.window.down=2", "method.window.up=2", "method.period=1", "hydra.sweeper.n_trials=2"]
    assert command(scripts.run, *choices, *fixed) == 0
    first = capsys.readouterr().err
    assert first.count("\ndone ") == 2
    assert "best so far: search/retom-" in first
    found = yaml.safe_load((tmp_path / "runs" / "search" / "optimization_results.yaml").read_text())
    assert set(found["best_params"]) == {"method.alpha", "method.ratio"}
    assert f"clip {-found['best_value']:.4g}" in first
    assert command(scripts.run, *choices, *fixed) == 0
    assert capsys.readouterr().err.count("\nalready finished ") == 2


def test_a_row_that_fails_loses_and_stops_no_search(command, tmp_path: Path, capsys) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    choices = ["--multirun", "experiment=search", *SMALLEST, "timing=off", "objective.s_per_im=1"]
    # Windows of one token merge nothing.
    fixed = ["method.window.down=1", "method.window.mid=1", "method.window.up=1", "method.period=1"]
    fixed = [*fixed, "hydra.sweeper.n_trials=2"]
    assert command(scripts.run, *choices, *fixed) == 1
    assert capsys.readouterr().err.count("\nfailed ") == 2
    assert (tmp_path / "runs" / "search" / "optimization_results.yaml").is_file()

"""Random weights in place of a model that is not on this machine."""

import dataclasses

import pytest

from eval.generation.pipelines import ModelConfig
from scripts.forecast import stand_in
from scripts.forecast.stand_in import CannotMeasureError, model_to_time

SD15 = ModelConfig("sd15", repo="a/b", revision="0" * 40)


def test_random_weights_stand_in_for_a_model_that_is_not_here(smallest_row, monkeypatch) -> None:
    row = dataclasses.replace(smallest_row("method=none"), model=SD15)
    found = model_to_time(row)
    assert (found.kind, found.architecture) == ("random", "sd15")
    monkeypatch.setattr(stand_in, "free_memory", lambda _: 1 << 30)
    with pytest.raises(CannotMeasureError, match=r"sd15_random need 4\.80 GiB of memory in float32, cpu has 1\.00"):
        model_to_time(row)
    with pytest.raises(CannotMeasureError, match=r"conf/model has no mine_random\.yaml"):
        model_to_time(dataclasses.replace(row, model=dataclasses.replace(SD15, name="mine")))

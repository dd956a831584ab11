"""How stale a reused plan is: what is counted, and that watching changes no image."""

import pytest
import torch

import retom
from eval.errors import RunError
from scripts.studies.staleness import destinations, staleness, watching
from tests.baselines.generating import generate, tokens


@pytest.mark.parametrize("grid", [(8, 8), (5, 7)])
def test_destinations_are_the_representatives_of_the_windows(grid):
    x = tokens(2, grid)
    plan = retom.merge_plan(x, grid, window=4, ratio=0.5)
    full = retom.merge_plan(x, grid, window=4, ratio=0.99)  # one slot for each window, so the first is its destination
    found = destinations(plan, grid, 4)
    merging = destinations(full, grid, 4)
    assert found.shape == merging.shape
    assert torch.equal(found, merging)


def test_watching_changes_no_image(tiny_pipe):
    method = retom.ReToM(period=2)
    with retom.patched(tiny_pipe, method):
        expected = generate(tiny_pipe, [1])
    watch = watching(method)
    with retom.patched(tiny_pipe, watch):
        assert torch.equal(generate(tiny_pipe, [1]), expected)
    assert watch.counts


def test_a_new_plan_is_not_stale_and_an_old_one_is(smallest_row, session):
    table = staleness(smallest_row("sampler.steps=4", "method.period=3"), session)
    assert (table[table.age == 0]["share"] == 0).all()
    assert table[table.age == 2]["share"].mean() > 0
    assert table["share"].between(0, 1).all()
    assert set(table["step"]) == set(range(5))  # PNDM calls once more than there are steps
    assert (table.windows > 0).all()
    assert table["site"].nunique() == 16


def test_methods_without_a_representative_are_refused(smallest_row, session):
    for method in ("none", "retom_random"):
        with pytest.raises(RunError, match="staleness needs a representative that is reused"):
            staleness(smallest_row(f"method={method}"), session)

"""Schedules of ratio and window over steps: their levels, their limits, their images."""

import pytest
import torch
import torch._dynamo.config

import retom
from baselines.dynamic import Dynamic
from eval.generation.compiling import GRAPHS
from retom import ReToM
from tests.baselines.compiling import check_one_graph_per_kind_of_step
from tests.baselines.generating import assert_same_images, context, generate, snapshot, tokens


def ratios(**options) -> list[float]:
    return [stage.ratio for stage in Dynamic(start=ReToM(ratio=0.75), end=ReToM(ratio=0.25), **options).stages]


def test_the_levels_of_each_schedule():
    assert ratios(schedule="linear") == [0.75, 0.625, 0.5, 0.375, 0.25]
    assert ratios(schedule="cosine") == pytest.approx([0.75, 0.676777, 0.5, 0.323223, 0.25])
    assert ratios(schedule="constant") == [0.75] * 5
    assert ratios(schedule="linear", levels=1) == [0.75]


def test_windows_move_by_layer_type():
    mixed = Dynamic(start=ReToM(window=2), end=ReToM(window={"down": 2, "mid": 8, "up": 4}), levels=3)
    assert [stage.window for stage in mixed.stages] == [
        {"down": 2, "mid": 2, "up": 2},
        {"down": 2, "mid": 5, "up": 3},
        {"down": 2, "mid": 8, "up": 4},
    ]
    assert [stage.window for stage in Dynamic(start=ReToM(window=2), end=ReToM(window=8), levels=3).stages] == [2, 5, 8]


@pytest.mark.parametrize(
    ("steps", "levels", "begins"),
    [
        (50, 5, [0, 10, 20, 30, 40]),
        (51, 5, [0, 11, 21, 31, 41]),
        (6, 4, [0, 2, 3, 5]),
        (7, 1, [0]),
        (3, 5, [0, 1, 2]),
    ],
)
def test_a_step_has_the_plan_of_its_level(steps, levels, begins):
    method = Dynamic(
        start=ReToM(ratio=0.75, window=4), end=ReToM(ratio=0.0, window=4), steps=steps, levels=levels, off_levels=0
    )
    assert [step for step in range(steps + 2) if method.due(step)] == begins
    assert [stage.ratio for stage in method.stages][0 :: max(len(begins) - 1, 1)] == [0.75, 0.0][: len(begins)]
    x = tokens(1, (8, 8))
    for level, step in enumerate(begins):
        expected = method.stages[level].plan(x, (8, 8), context(step=step))
        assert torch.equal(method.plan(x, (8, 8), context(step=step)).assign, expected.assign)


def test_the_first_levels_may_be_off():
    method = Dynamic(off_levels=2, schedule="constant")
    x = tokens(1, (8, 8))
    assert [method.plan(x, (8, 8), context(step=step)) is None for step in range(0, 50, 10)] == [True] * 2 + [False] * 3
    assert not Dynamic(start=ReToM(ratio=0.5), end=ReToM(ratio=0.0), levels=2, off_levels=1).merges
    assert method.merges


def test_a_constant_schedule_is_retom(tiny_pipe):
    with retom.patched(tiny_pipe, ReToM(period=1)):
        expected = generate(tiny_pipe, [1])
    with retom.patched(tiny_pipe, Dynamic(schedule="constant", steps=3, levels=3)):
        assert torch.equal(generate(tiny_pipe, [1]), expected)


@pytest.mark.parametrize("levels", [2, pytest.param(5, marks=pytest.mark.slow)])
def test_every_level_is_compiled_once(levels):
    start, end = (ReToM(ratio=ratio, window=4) for ratio in (0.75, 0.25))
    method = Dynamic(start=start, end=end, steps=2 * levels, levels=levels)
    with torch._dynamo.config.patch(recompile_limit=GRAPHS):  # as the harness has it
        check_one_graph_per_kind_of_step(method, steps=2 * levels, most=2 * levels)  # a level begins, and goes on


def test_a_last_level_that_merges_nothing_hides_no_other(tiny_pipe):
    with retom.patched(tiny_pipe, Dynamic(start=ReToM(ratio=0.5), end=ReToM(ratio=0.0), steps=2, levels=2)):
        generate(tiny_pipe, [1])
        assert all(site["merged"] < site["tokens"] for site in retom.report(tiny_pipe))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "sine"}, "schedule must be one of constant, linear, cosine, got 'sine'"),
        ({"levels": 0}, "levels must be an integer of at least 1, got 0"),
        ({"steps": 2.5}, r"steps must be an integer of at least 1, got 2\.5"),
        ({"off_levels": 5}, "off_levels must be less than levels = 5, got 5"),
        ({"end": ReToM(alpha=0.1)}, "start and end must be ReToM with the same options except for ratio and window"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Dynamic(**options)


def test_images_do_not_depend_on_their_batch_and_the_patch_comes_off(tiny_pipe):
    before, plain = snapshot(tiny_pipe.unet), generate(tiny_pipe, [1])
    method = Dynamic(start=ReToM(ratio=0.75), end=ReToM(ratio=0.25), steps=3, levels=3)
    with retom.patched(tiny_pipe, method):
        together, alone = generate(tiny_pipe, [1, 2]), generate(tiny_pipe, [1])
        merged = [(site["tokens"], site["merged"]) for site in retom.report(tiny_pipe)]
    assert_same_images(together[:1], alone, together[1:])
    assert merged.count((1024, 768)) == 5  # the last level
    assert snapshot(tiny_pipe.unet) == before
    assert torch.equal(generate(tiny_pipe, [1]), plain)

"""Figure 3: what is recorded of a generation, and that looking at it changes no pixel."""

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import retom
from eval.errors import RunError
from eval.generation.calls import call_pipeline
from eval.generation.images import to_uint8
from eval.report.studies.recording import ALONE, DESTINATION, MERGED
from scripts.command_line.entry import CONF
from scripts.studies.look import Look
from scripts.studies.recorder import record, token_states, window_at
from tests.baselines.generating import tokens

PROMPT, SEED = "a goldfish", 5


@pytest.mark.parametrize("grid", [(8, 8), (5, 7), (1, 3)])
@pytest.mark.parametrize("side", [1, 2, 4, 9])
def test_the_window_holds_its_point(grid, side) -> None:
    for point in ((0, 0), (0.5, 0.5), (1, 1), (0.99, 0.2)):
        top, left, height, width = window_at(grid, side, point)
        row, column = (min(int(share * length), length - 1) for share, length in zip(point, grid, strict=True))
        assert top <= row < top + height <= grid[0]
        assert left <= column < left + width <= grid[1]
        assert (top % side, left % side) == (0, 0)
        assert height == min(side, grid[0] - top)
        assert width == min(side, grid[1] - left)


def test_states_are_those_of_the_plan() -> None:
    plan = retom.merge_plan(tokens(2, (4, 6)), (4, 6), window=2, ratio=0.5)
    state = token_states(plan, (4, 6))
    assert np.bincount(state.ravel()).tolist() == [6, 6, 12]  # in each of six windows one alone, one destination, two
    for top in (0, 2):
        for left in (0, 2, 4):
            window = state[top : top + 2, left : left + 2]
            assert sorted(window.ravel()) == [ALONE, DESTINATION, MERGED, MERGED]
    slots = plan.assign[-1].reshape(4, 6).numpy()
    assert len(set(slots[state == DESTINATION])) == 6
    assert set(slots[state == MERGED]) == set(slots[state == DESTINATION])
    assert (token_states(None, (4, 6)) == ALONE).all()


@pytest.mark.parametrize("method", ["retom", "retom_random"])
def test_a_recording_changes_no_pixel_and_says_what_was_done(method, smallest_row, session) -> None:
    row = smallest_row(f"method={method}", "sampler.steps=4", "method.period=3")
    found = record(row, session, Look(), prompt=PROMPT, seed=SEED)
    pipe = session.pipeline(row.model, row.sampler)
    with retom.patched(pipe, row.method):
        retom.set_seeds(pipe, [SEED])
        image = call_pipeline(pipe, [PROMPT], [SEED], row.sampler, output_type="np").images[0]
        report = retom.report(pipe)
    assert np.array_equal(found.image, to_uint8(image)[0])
    assert found.calls == [(0, 0), (300, 1), (600, 2), (900, 3)]
    assert found.sites == [site["site"] for site in report]
    merged = {site["site"]: 1 - site["merged"] / site["tokens"] for site in report}
    for panel in found.panels:
        assert panel.planned == 3 * (panel.step // 3)
        assert panel.removed == pytest.approx(merged[panel.site])
        assert panel.side == {"down": 2, "mid": 8, "up": 2}[panel.layer_type]
        assert np.allclose(np.diag(panel.similarity), 1, atol=1e-5)
        assert np.array_equal(panel.similarity, panel.similarity.T)


def test_the_similarity_is_the_cosine_of_the_windows_tokens(smallest_row, session) -> None:
    row = smallest_row("sampler.steps=2")
    pipe = session.pipeline(row.model, row.sampler)
    seen: list[torch.Tensor] = []
    block = pipe.unet.mid_block.attentions[0].transformer_blocks[0]
    handle = block.norm1.register_forward_hook(lambda module, args, output: seen.append(output))
    try:
        found = record(row, session, Look(steps=(0,)), prompt=PROMPT, seed=SEED)
    finally:
        handle.remove()
    (panel,) = [panel for panel in found.panels if panel.layer_type == "mid"]
    expected = torch.nn.functional.cosine_similarity(seen[0][-1][:, None], seen[0][-1][None], dim=-1)
    assert np.allclose(panel.similarity, expected.numpy(), atol=1e-5)


def test_methods_that_have_no_windows_are_looked_at_where_given(smallest_row, session) -> None:
    row = smallest_row("method=atc", "method.max_downsample=null")
    with pytest.raises(RunError, match=r"has no windows: say which to look into, as figure3\.window=8"):
        record(row, session, Look(), prompt=PROMPT, seed=SEED)
    found = record(row, session, Look(window=4), prompt=PROMPT, seed=SEED)
    assert {panel.side for panel in found.panels} == {4}
    assert found.panels[0].removed > 0.4
    for method in ("none", "tomesd"):
        with pytest.raises(RunError, match=f"method {method} makes no plan to look at"):
            record(smallest_row(f"method={method}"), session, Look(), prompt=PROMPT, seed=SEED)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"steps": [1000]}, "figure3.steps must be at least one whole number in"),
        ({"steps": 3}, "figure3.steps must be a list"),
        ({"of": 0}, "figure3.of must be an integer of at least 1, got 0"),
        ({"point": [0.5]}, "figure3.point must be two shares"),
        ({"point": [0.5, 1.5]}, "figure3.point must be two shares"),
        ({"window": 0}, "figure3.window must be null or at least 1, got 0"),
        ({"window": "8"}, "figure3.window must be null or an integer"),
    ],
)
def test_a_bad_option_is_reported_with_its_name(wrong, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        Look(**wrong)


def test_the_configuration_composes_with_what_the_code_has_as_default() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose("figure3", overrides=["model=tiny_random", "figure3.steps=[0,500]"])
    assert Look(**OmegaConf.to_container(composed.figure3)) == Look(steps=(0, 500))
    assert composed.sampler.height == 64

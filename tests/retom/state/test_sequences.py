"""Plans are used for the grid, batch and call sequence they were made for; replaced inputs do not change steps."""

import pytest
import torch
from diffusers import StableDiffusionSAGPipeline
from diffusers.callbacks import SDCFGCutoffCallback

import retom
from baselines.dynamic import Dynamic
from baselines.ibtm import IBTM
from baselines.toma import ToMA
from retom.state.generation import MOST_SEQUENCES
from tests.retom.denoising import SCHEDULE, ddim, latents, side_by_side, step, text

METHODS = {
    "period": retom.ReToM(ratio=0.5, period=3),
    "random": retom.ReToM(ratio=0.5, period=2, destination="random"),
    "memory": ToMA(side=4, destination_period=4, weight_period=2),
    "output": IBTM(),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [2, 5])
def test_tiles_taken_in_turn_are_as_each_alone(unet, method, count):
    embeddings, tiles = text(), [latents(seed) for seed in range(count)]
    with retom.patched(unet, METHODS[method]):
        together = side_by_side(unet, tiles, [embeddings] * count)
        rows = retom.report(unet)
    with retom.patched(unet, METHODS[method]):
        for tile, expected in zip(tiles, together, strict=True):
            retom.reset(unet)
            assert torch.equal(side_by_side(unet, [tile], [embeddings])[0], expected)
    planned = sum(METHODS[method].due(place) for place in range(len(SCHEDULE)))
    found = {(row["plans_computed"], row["plans_reused"]) for row in rows if row["merged"] < row["tokens"]}
    assert found == {(count * planned, count * (len(SCHEDULE) - planned))}


def test_two_texts_in_turn_have_a_plan_each_also_where_one_is_left_out(unet):
    """The last steps use only the second text, as when guidance ends: it still has its own plan."""
    texts, tiles = [text(1), text(2)], [latents(1), latents(2)]
    with retom.patched(unet, ratio=0.5, period=20):
        both = side_by_side(unet, tiles, texts, SCHEDULE[:3])
        (last,) = side_by_side(unet, both[1:], texts[1:], SCHEDULE[3:])
        assert {row["plans_computed"] for row in retom.report(unet)} == {2}
    with retom.patched(unet, ratio=0.5, period=20):
        assert torch.equal(side_by_side(unet, tiles[1:], texts[1:])[0], last)


def test_more_calls_than_are_cached_always_plan(unet):
    count, embeddings = MOST_SEQUENCES + 2, text()
    tiles = [latents(seed) for seed in range(count)]
    with retom.patched(unet, ratio=0.5, period=20):
        together = side_by_side(unet, tiles, [embeddings] * count, SCHEDULE[:2])
        computed = retom.report(unet)[0]["plans_computed"]
    assert computed == count + 3  # the first of each, and again those from the last one that is kept on
    with retom.patched(unet, ratio=0.5, period=20):
        assert torch.equal(side_by_side(unet, tiles[:1], [embeddings], SCHEDULE[:2])[0], together[0])


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_that_shrinks_amid_a_generation_is_planned_again(unet, method):
    """As when guidance stops: two rows, then one."""
    both, one = text(rows=2), text(rows=1)
    with retom.patched(unet, METHODS[method]):
        x = latents(rows=2)
        for place, timestep in enumerate(SCHEDULE):
            x = step(unet, x if place < 3 else x[:1], timestep, both if place < 3 else one)
        (row,) = [row for row in retom.report(unet) if row["site"].startswith("down_blocks.0")]
    due = {place for place in range(len(SCHEDULE)) if METHODS[method].due(place)}
    assert row["plans_computed"] == len(due | {3})
    assert row["merged"] < row["tokens"]


class Shrinking(torch.nn.Module):
    """Halves the feature map of a level in the first steps and enlarges its output again."""

    def __init__(self, attention):
        super().__init__()
        self.attention, self.on = attention, True

    def forward(self, hidden_states, *args, **kwargs):
        if not self.on:
            return self.attention(hidden_states, *args, **kwargs)
        small = torch.nn.functional.avg_pool2d(hidden_states, 2)
        out = self.attention(small, *args, **kwargs)[0]
        return (torch.nn.functional.interpolate(out, scale_factor=2),)


def test_a_grid_that_changes_inside_a_generation_is_planned_again(unet):
    """Its coarser grid is not a top level, so max_downsample=1 does not merge it."""
    level = unet.down_blocks[0]
    level.attentions[0] = Shrinking(level.attentions[0])
    seen = []
    # The block's parent is named one module deeper; sites are found all the same.
    with retom.patched(unet, ratio=0.5, period=20, max_downsample=1):
        x, embeddings = latents(), text()
        for place, timestep in enumerate(SCHEDULE):
            level.attentions[0].on = place < 3
            x = step(unet, x, timestep, embeddings)
            seen.append(retom.report(unet)[0])
    assert [row["grid"] for row in seen] == [[8, 8]] * 3 + [[16, 16]] * 3
    assert [row["merged"] for row in seen] == [64] * 3 + [128] * 3
    assert seen[-1]["plans_computed"] == 2


def test_another_dtype_is_planned_again(unet):
    embeddings = {dtype: text().to(dtype) for dtype in (torch.float32, torch.bfloat16)}
    with retom.patched(unet, ratio=0.5, period=20):
        for place, timestep in enumerate(SCHEDULE):
            dtype = torch.float32 if place < 3 else torch.bfloat16
            step(unet.to(dtype), latents().to(dtype), timestep, embeddings[dtype])
        assert retom.report(unet)[0]["plans_computed"] == 2


def schedules(pipe, callback=None, **extra):
    """The step of every plan, and the tokens left by the last one, for a schedule over eight steps."""
    seen = []

    class Spy(Dynamic):
        def plan(self, metric, grid, context):
            plan = super().plan(metric, grid, context)
            if context.layer == 0:
                seen.append((context.step, plan.num_merged))
            return plan

    method = Spy(start=retom.ReToM(ratio=0.75), end=retom.ReToM(ratio=0.25), levels=4, steps=8)
    options = {"num_inference_steps": 8, "height": 64, "width": 64, "output_type": "latent", **extra}
    with retom.patched(pipe, method):
        pipe("a cat", callback_on_step_end=callback, **options)
    return seen


def test_a_schedule_goes_on_when_guidance_is_cut_off_or_prompts_travel(tiny_pipe):
    pipe = ddim(tiny_pipe)
    texts = [torch.randn(2, 77, 32) for _ in range(8)]

    def travel(_, index, timestep, tensors):
        return {**tensors, "prompt_embeds": texts[index]}

    def rescale(_, index, timestep, tensors):
        return {**tensors, "latents": tensors["latents"] * 1.0}

    expected = [(0, 256), (2, 512), (4, 768), (6, 768)]
    assert schedules(pipe) == expected
    assert schedules(pipe, rescale) == expected
    kept = {"callback_on_step_end_tensor_inputs": ["latents", "prompt_embeds"]}
    for callback, extra in ((SDCFGCutoffCallback(cutoff_step_ratio=0.5), {}), (travel, kept)):
        found = schedules(pipe, callback, **extra)
        assert set(expected) <= set(found)
        assert [at for at, _ in found] == sorted({at for at, _ in found})
        assert all(left == dict(expected)[at // 2 * 2] for at, left in found)


def test_a_schedule_goes_on_through_inversion_and_back(unet):
    """Falling and then rising places of one schedule are two generations."""
    steps = []

    class Spy(retom.ReToM):
        def plan(self, metric, grid, context):
            steps.append(context.step)
            return super().plan(metric, grid, context)

    embeddings = text()
    with retom.patched(unet, Spy(ratio=0.5, period=1, max_downsample=1)):
        x = latents()
        for place in (*range(5, -1, -1), *range(1, 6)):
            x = step(unet, x, SCHEDULE[place], embeddings)
    sites = len(steps) // 11
    assert steps[::sites] == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4]


def test_self_attention_guidance_calls_twice_per_step_on_one_schedule(tiny_pipe):
    parts = {name: part for name, part in tiny_pipe.components.items() if name != "image_encoder"}
    pipe = ddim(StableDiffusionSAGPipeline(**parts, requires_safety_checker=False))
    pipe.set_progress_bar_config(disable=True)
    steps = []

    class Spy(Dynamic):
        def plan(self, metric, grid, context):
            plan = super().plan(metric, grid, context)
            if context.layer == 0:
                steps.append((context.step, context.rows.count, plan.num_merged))
            return plan

    method = Spy(start=retom.ReToM(ratio=0.75), end=retom.ReToM(ratio=0.25), levels=4, steps=8)
    with retom.patched(pipe, method):
        with pytest.warns(UserWarning, match="mid_block.* is not merged"):
            pipe("a cat", num_inference_steps=8, height=64, width=64, output_type="latent")
        report = {row["layer_type"]: row for row in retom.report(pipe)}
    guided = [(at, left) for at, rows, left in steps if rows == 2]
    assert guided == [(0, 256), (2, 512), (4, 768), (6, 768)]
    assert [at for at, rows, _ in steps if rows == 1] == list(range(8))  # its embeddings are others every time
    assert report["mid"]["merged"] == report["mid"]["tokens"]
    assert report["down"]["merged"] < report["down"]["tokens"]

"""Attention over text and image together: SD 3, SD 3.5 and Flux, from the real classes at tiny sizes."""

import pytest
import torch
from diffusers.models.transformers.transformer_flux import FluxIPAdapterAttnProcessor

import retom
from retom.patching.sites import find_sites
from retom.plans.dense import DensePlan
from tests.retom.tiny_joint import MODELS, TEXT, flux, inputs, run

SITES = {"sd3": 3, "sd35": 3, "flux": 5}


@pytest.fixture(params=MODELS)
def name(request):
    return request.param


@pytest.fixture
def model(name):
    return MODELS[name]()


def snapshot(model):
    return {name: dict(vars(module)) for name, module in model.named_modules()}


def merge_hook(attention):
    return attention._diffusers_hook.get_hook("retom_merge")


@pytest.mark.parametrize("metric", ["attn_input", "block_input", "keys"])
def test_every_block_merges_and_removal_leaves_nothing(name, model, metric):
    before, plain = snapshot(model), run(model)
    with retom.patched(model, ratio=0.5, window=2, metric=metric) as sites:
        merged = run(model)
        rows = retom.report(model)
    assert sites == len(rows) == SITES[name]
    assert all((row["grid"], row["tokens"], row["merged"]) == ([4, 6], 24, 12) for row in rows)
    assert {row["layer_type"] for row in rows} == {"down"}
    assert torch.isfinite(merged).all()
    assert not torch.equal(merged, plain)
    assert snapshot(model) == before
    assert torch.equal(run(model), plain)


@pytest.mark.parametrize("backend", ["gather", "matmul"])
def test_ratio_zero_is_the_unpatched_output_bit_for_bit(model, backend):
    plain = run(model, batch=2)
    with retom.patched(model, ratio=0.0, backend=backend):
        assert torch.equal(run(model, batch=2), plain)


@pytest.mark.parametrize("grid", [(5, 3), (1, 7), (7, 1), (6, 4), (3, 8)])
def test_any_grid_is_read_from_the_call(model, grid):
    with retom.patched(model, ratio=0.5, window=2):
        run(model)
        out = run(model, grid=grid)
        rows = retom.report(model)
    assert torch.isfinite(out).all()
    assert all(row["grid"] == list(grid) and row["merged"] < row["tokens"] for row in rows)


def test_positional_and_keyword_calls_are_the_same(model):
    call = inputs(model)
    names = ["hidden_states", "encoder_hidden_states", "pooled_projections", "timestep"]
    ids = {key: value for key, value in call.items() if key.endswith("_ids")}
    with retom.patched(model, ratio=0.5, window=2), torch.no_grad():
        one = model(*[call[key] for key in names], **ids).sample
        assert torch.equal(one, run(model))


class Halfway(retom.ReToM):
    """ReToM that merges only the second site."""

    def plan(self, metric, grid, context):
        return super().plan(metric, grid, context) if context.layer == 1 else None


def test_text_is_bit_identical_through_a_site_that_merges_nothing(name, model):
    seen = []
    blocks = [site.block for site in find_sites(model)]
    for block in blocks:
        block.register_forward_hook(lambda block, args, kwargs, out: seen.append(out[0]), with_kwargs=True)
    plain = run(model)
    with retom.patched(model, Halfway(ratio=0.5, window=2)):
        merged = run(model)
    before, after = seen[: len(blocks)], seen[len(blocks) :]
    assert torch.equal(after[0], before[0])  # the merge-free first site, and the merged second one, which reads it
    if after[1] is not None:
        assert after[1].shape == before[1].shape
    assert not torch.equal(plain, merged)


def test_text_tokens_are_neither_merged_nor_unmerged(model):
    """The text output of a merged site equals that of its attention, computed by hand."""
    for site in find_sites(model):
        with retom.patched(model, ratio=0.5, window=2):
            seen, out = record(model, site.block.attn)
            hook = merge_hook(site.block.attn)
            plan = hook.patch.plan
            expected = by_hand(hook.fn_ref.forward, seen, plan, site.parts(("self",))["self"].text == "before")
        ours = out if isinstance(out, tuple) else (out,)
        theirs = expected if isinstance(expected, tuple) else (expected,)
        assert len(ours) == len(theirs)
        assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def record(model, attention):
    """The keyword arguments and the output of an attention during one call of the model."""
    seen = {}
    handle = attention.register_forward_hook(
        lambda _, args, kwargs, out: seen.update(kwargs=kwargs, out=out), with_kwargs=True
    )
    run(model)
    handle.remove()
    return seen["kwargs"], seen["out"]


def by_hand(forward, kwargs, plan, text_first):
    """Attention on merged tokens, with rotary rows selected one by one."""
    text = TEXT if text_first else 0
    x = kwargs["hidden_states"]
    rotary = {}
    if "image_rotary_emb" in kwargs:
        rows = [*range(TEXT), *(TEXT + int(token) for token in plan.dst_index[0])]
        rotary["image_rotary_emb"] = tuple(table[rows] for table in kwargs["image_rotary_emb"])
    merged = torch.cat([x[:, :text], plan.merge(x[:, text:])], dim=1)
    with torch.no_grad():
        out = forward(**{**kwargs, **rotary, "hidden_states": merged})
    if isinstance(out, tuple):
        return plan.unmerge(out[0]), *out[1:]
    return torch.cat([out[:, :text], plan.unmerge(out[:, text:])], dim=1)


def test_both_attentions_of_sd35_run_on_the_plan_of_the_first():
    model = MODELS["sd35"]()
    block = model.transformer_blocks[0]
    with retom.patched(model, ratio=0.5, window=2):
        kwargs, out = record(model, block.attn2)
        hook = merge_hook(block.attn2)
        plan, forward = hook.patch.plan, hook.fn_ref.forward
        assert merge_hook(block.attn).patch is hook.patch
        with torch.no_grad():
            expected = plan.unmerge(forward(hidden_states=plan.merge(kwargs["hidden_states"])))
    assert torch.equal(out, expected)


def test_the_feed_forward_merges_where_a_block_has_one(name, model):
    with retom.patched(model, ratio=0.5, window=2, targets=("ff",)) as sites:
        merged = run(model)
        assert all(row["merged"] == 12 for row in retom.report(model))
    assert sites == (2 if name == "flux" else 3)  # Flux's single blocks have no separate feed-forward
    assert not torch.equal(merged, run(model))


@pytest.mark.parametrize("kind", ["new ids", "same everything", "reset"])
def test_a_generation_of_flux_begins_with_new_ids(kind):
    """A user may pass the same embeddings twice; the pipeline creates new ids anyway."""
    model = flux()
    call = inputs(model)
    with retom.patched(model, ratio=0.5, window=2, period=10), torch.no_grad():
        model(**call)
        if kind == "new ids":
            call["img_ids"] = call["img_ids"].clone()
        if kind == "reset":
            retom.reset(model)
        model(**call)
        row = retom.report(model)[0]
    assert (row["plans_computed"], row["plans_reused"]) == ((1, 1) if kind == "same everything" else (2, 0))


def test_one_plan_may_serve_all_blocks(name, model):
    with retom.patched(model, ratio=0.5, window=2, share_plan=True):
        run(model)
        plans = [merge_hook(site.block.attn).patch.plan for site in find_sites(model)]
        assert all(row["merged"] == 12 for row in retom.report(model))
    assert all(torch.equal(plan.assign, plans[0].assign) for plan in plans)


def test_dense_plans_merge_too(model):
    """A token may be spread over several slots (as in ToMA), which have the positions of their destinations."""

    class Dense(retom.TokenMerger):
        def plan(self, metric, grid, context):
            batch, tokens, _ = metric.shape
            spread = torch.rand(batch, tokens // 2, tokens, generator=torch.Generator().manual_seed(0)).softmax(dim=2)
            return DensePlan.whole(spread, spread.transpose(1, 2), torch.arange(0, tokens, 2).expand(batch, -1))

    plain = run(model)
    with retom.patched(model, Dense()):
        merged = run(model)
        assert all(row["merged"] == 12 for row in retom.report(model))
    assert torch.isfinite(merged).all()
    assert not torch.equal(plain, merged)


def test_an_image_prompt_of_flux_is_unmerged_with_the_image():
    """With an IP-Adapter the attention returns three parts; the third has the merged queries of the image."""
    model = flux()
    for block in model.transformer_blocks:
        block.attn.set_processor(FluxIPAdapterAttnProcessor(hidden_size=32, cross_attention_dim=32))
    call = inputs(model) | {"joint_attention_kwargs": {"ip_hidden_states": [torch.randn(1, 4, 32)]}}
    with torch.no_grad():
        plain = model(**call).sample
        with retom.patched(model, ratio=0.5, window=2):
            seen = {}
            handle = model.transformer_blocks[0].attn.register_forward_hook(lambda _, args, out: seen.update(out=out))
            merged = model(**call).sample
            handle.remove()
            plan = merge_hook(model.transformer_blocks[0].attn).patch.plan
    image, text, prompt = seen["out"]
    assert (image.shape[1], text.shape[1], prompt.shape[1]) == (24, TEXT, 24)
    for part in (image, prompt):  # every token has the value of its slot's destination
        owner = plan.dst_index.gather(1, plan.assign)[..., None].expand(part.shape)
        assert torch.equal(part, part.gather(1, owner))
    assert not torch.equal(plain, merged)

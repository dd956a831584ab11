"""Similarities other than cosine, and similarity of keys, against plain loops."""

import pytest
import torch

import retom
from retom.plans.representative import SIMILARITIES
from retom.plans.windows import tile
from tests.baselines.generating import denoise


def alike(a: torch.Tensor, b: torch.Tensor, similarity: str) -> float:
    """Similarity of two tokens by its definition."""
    if similarity == "dot":
        return float(a @ b)
    if similarity == "l2":
        return -float((a - b).square().sum())
    if similarity == "pearson":
        return float(torch.corrcoef(torch.stack([a, b]))[0, 1])
    return float(torch.cosine_similarity(a, b, dim=0))


def slots(x: torch.Tensor, grid: tuple[int, int], window: int, ratio: float, source: str, similarity: str):
    """The tokens of each slot of one image, by definition: sets of token numbers, destination first."""
    groups = []
    for region in tile(grid, window):
        for tokens in region.tokens(grid, "cpu").tolist():
            others = {i: [j for j in tokens if j != i] for i in tokens}
            mean = {i: sum(alike(x[i], x[j], similarity) for j in others[i]) / max(len(others[i]), 1) for i in tokens}
            destination = max(tokens, key=lambda i: mean[i])
            score = mean if source == "average" else {i: alike(x[destination], x[i], similarity) for i in tokens}
            ranked = sorted(others[destination], key=lambda i: -score[i])
            groups.append((destination, frozenset(ranked[: int(ratio * len(tokens))])))
    return set(groups)


@pytest.mark.parametrize("source", ["average", "destination"])
@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize(("grid", "window"), [((6, 9), 3), ((5, 7), 4)])
def test_a_plain_loop_reading_of_each(grid, window, similarity, source):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, grid[0] * grid[1], 6, generator=generator, dtype=torch.float64) + 0.5
    options = {"window": window, "ratio": 0.5, "source": source, "similarity": similarity}
    plan = retom.merge_plan(x.float(), grid, **options)
    for image in range(2):
        expected = {group for group in slots(x[image], grid, window, 0.5, source, similarity) if group[1]}
        found = set()
        for slot, destination in enumerate(plan.dst_index[image].tolist()):
            members = frozenset(torch.nonzero(plan.assign[image] == slot)[:, 0].tolist())
            if len(members) > 1:
                found.add((destination, members - {destination}))
        assert found == expected


def test_the_four_choose_alike_after_norms_that_were_never_trained(tiny_pipe):
    """It gives tokens of mean 0 and equal norm: products, distances and correlations then rank as cosines do."""
    outputs = []
    for name in SIMILARITIES:
        with retom.patched(tiny_pipe, similarity=name):
            outputs.append(denoise(tiny_pipe.unet))
    assert all(torch.equal(output, outputs[0]) for output in outputs)


def test_the_four_choose_differently():
    x = torch.randn(1, 64, 8, generator=torch.Generator().manual_seed(1)) + 1
    chosen = [retom.merge_plan(x, (8, 8), window=8, ratio=0.5, similarity=name).assign for name in SIMILARITIES]
    assert all(not torch.equal(left, right) for n, left in enumerate(chosen) for right in chosen[n + 1 :])


def test_two_tokens_are_equally_similar_to_each_other():
    x = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(2))
    for similarity in SIMILARITIES:
        plan = retom.merge_plan(x, (1, 2), window=2, ratio=0.5, similarity=similarity)
        assert plan.dst_index.tolist() == [[0]] * 3


def test_an_unknown_similarity_is_named():
    for make in (
        lambda: retom.ReToM(similarity="l1"),
        lambda: retom.merge_plan(torch.zeros(1, 4, 2), (2, 2), window=2, ratio=0.5, similarity="l1"),
    ):
        with pytest.raises(ValueError, match="similarity must be one of cosine, dot, l2, pearson, got 'l1'"):
            make()


def test_keys_are_the_attention_input_through_the_key_projection(tiny_pipe):
    unet = tiny_pipe.unet
    block = unet.down_blocks[0].attentions[0].transformer_blocks[0]
    seen = {}

    class Watching(retom.ReToM):
        def plan(self, metric, grid, context):
            seen.setdefault("metric", metric)
            return super().plan(metric, grid, context)

    def look(_module, args, kwargs):
        seen.setdefault("x", args[0] if args else kwargs["hidden_states"])

    block.attn1.register_forward_pre_hook(look, with_kwargs=True)
    plain = denoise(unet)
    with retom.patched(unet, Watching(metric="keys")):
        images = denoise(unet)
    assert torch.equal(seen["metric"], block.attn1.to_k(seen["x"]))
    with retom.patched(unet, retom.ReToM()):
        assert not torch.equal(denoise(unet), images)
    assert torch.equal(denoise(unet), plain)


def test_keys_need_self_attention():
    with pytest.raises(ValueError, match="metric='keys' needs 'self' or 'self_kv' in targets"):
        retom.ReToM(metric="keys", targets=("cross", "ff"))
    retom.ReToM(metric="keys", targets=("self_kv",))

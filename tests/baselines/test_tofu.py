"""ToFu against a plain-loop reading of its paper, its norms, and the choice between pruning and merging."""

import pytest
import torch

import retom
from baselines.parts.selection import SelectionPlan
from baselines.tofu import MlerpPlan, ToFu, linearity
from baselines.tomesd import ToMeSD
from tests.baselines.compiling import check_one_graph_per_kind_of_step
from tests.baselines.generating import assert_same_images, context, denoise, generate, snapshot, tokens


def clusters(x: torch.Tensor, columns: int, removed: int) -> dict[int, list[int]]:
    """One image's sources by destination: the top left of each 2 x 2 window, matched and ranked by cosine."""
    size = len(x)
    destinations = [n for n in range(size) if n // columns % 2 == 0 and n % columns % 2 == 0]
    similarity = torch.nn.functional.normalize(x.double(), dim=-1) @ torch.nn.functional.normalize(x.double(), dim=-1).T
    best = {}
    for token in set(range(size)) - set(destinations):
        nearest = max(destinations, key=lambda destination: similarity[token, destination].item())
        best[token] = (similarity[token, nearest].item(), nearest)
    groups = {destination: [] for destination in destinations}
    for token in sorted(best, key=lambda token: -best[token][0])[:removed]:
        groups[best[token][1]].append(token)
    return groups


@pytest.mark.parametrize("layer_type", ["down", "up"])
@pytest.mark.parametrize("ratio", [0.25, 0.6])
def test_a_plain_loop_reading_of_the_paper(layer_type, ratio):
    x = tokens(2, (4, 6), channels=5)
    plan = ToFu(ratio=ratio, use_rand=False).plan(x, (4, 6), context((0, 0), layer_type=layer_type))
    for image in range(2):
        expected = x[image].clone()
        for destination, sources in clusters(x[image], 6, int(ratio * 24)).items():
            members = [destination, *sources]
            if layer_type == "down":
                value = x[image, destination]
            elif sources:
                mean = x[image, members].mean(dim=0)
                value = mean / mean.norm() * max(x[image, member].norm() for member in members)
            else:
                value = x[image, destination]
            expected[members] = value
        torch.testing.assert_close(plan.unmerge(plan.merge(x))[image], expected)


@pytest.mark.parametrize("backend", ["gather", "matmul"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_merged_tokens_have_the_largest_norm_of_their_members(backend, dtype):
    x = tokens(2, (8, 8)).to(dtype)
    plan = ToFu(prune=()).plan(x, (8, 8), context((1, 2))).on(backend)
    assert isinstance(plan, MlerpPlan)
    norms = x.float().norm(dim=-1)
    largest = torch.stack([(plan.assign == slot).mul(norms).amax(dim=1) for slot in range(plan.num_merged)], dim=1)
    tolerance = 1e-6 if dtype is torch.float32 else 2e-3
    torch.testing.assert_close(plan.merge(x).float().norm(dim=-1), largest, rtol=tolerance, atol=0)
    assert plan.merge(x).dtype == dtype
    rebuilt = type(plan)(*plan.parts())
    assert torch.equal(rebuilt.merge(x), plan.merge(x))


def test_a_mean_of_zero_stays_zero():
    x = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]])
    zero = torch.zeros(1, 2, dtype=torch.int64)
    plan = MlerpPlan(*retom.MergePlan.from_clusters(zero, None, zero[:, :1]).parts())
    assert torch.equal(plan.merge(x), torch.zeros(1, 1, 2))


def test_the_choice_follows_layer_types_and_numbers():
    x = tokens(1, (4, 4))
    kinds = {
        (prune, layer_type, layer): type(ToFu(prune=prune).plan(x, (4, 4), context(layer_type=layer_type, layer=layer)))
        for prune in (("down", "mid"), (7,), ())
        for layer_type, layer in (("down", 0), ("mid", 6), ("up", 7))
    }
    pruned = {key for key, kind in kinds.items() if kind is SelectionPlan}
    assert pruned == {(("down", "mid"), "down", 0), (("down", "mid"), "mid", 6), ((7,), "up", 7)}


def test_matching_is_tomesds():
    x = tokens(3, (6, 6))
    ours = ToFu().plan(x, (6, 6), context((1, 2, 3)))
    theirs = ToMeSD().plan(x, (6, 6), context((1, 2, 3)))
    assert torch.equal(ours.assign, theirs.assign)
    assert torch.equal(ours.dst_index, theirs.dst_index)


def test_linearity_tells_layers_apart():
    left, right = tokens(1, (3, 3)), tokens(1, (3, 3), seed=1)
    matrix = tokens(1, (4, 4))[0]
    assert linearity(lambda x: x @ matrix + 1, left, right) < 1e-6
    weak, strong = linearity(lambda x: torch.tanh(0.1 * x), left, right), linearity(lambda x: x**2, left, right)
    assert 1e-6 < weak < strong
    with pytest.raises(ValueError, match="points must be at least 1, got 0"):
        linearity(torch.tanh, left, right, points=0)


def test_images_are_planned_by_themselves():
    x = tokens(3, (8, 8))
    for layer_type in ("down", "up"):
        together = ToFu().plan(x, (8, 8), context((1, 2, 3), layer_type=layer_type))
        turned = ToFu().plan(x.flip(0), (8, 8), context((3, 2, 1), layer_type=layer_type))
        alone = ToFu().plan(x[1:2], (8, 8), context((2,), layer_type=layer_type))
        assert torch.equal(together.merge(x).flip(0), turned.merge(x.flip(0)))
        assert torch.equal(together.merge(x)[1:2], alone.merge(x[1:2]))


def test_ratio_zero_is_the_identity_and_bad_options_are_named(tiny_pipe):
    plain = denoise(tiny_pipe.unet)
    with retom.patched(tiny_pipe, ToFu(ratio=0.0)):
        assert torch.equal(denoise(tiny_pipe.unet), plain)
    assert not ToFu(ratio=0.0).merges
    with pytest.raises(ValueError, match=r"ratio must be at most 0\.75"):
        ToFu(ratio=0.9)
    for wrong in ("early", -1, True):
        with pytest.raises(ValueError, match="prune must contain only down, mid, up or numbers of sites, got"):
            ToFu(prune=(wrong,))


def test_images_do_not_depend_on_their_batch_and_the_patch_comes_off(tiny_pipe):
    before, plain = snapshot(tiny_pipe.unet), generate(tiny_pipe, [1])
    with retom.patched(tiny_pipe, ToFu()):
        retom.set_seeds(tiny_pipe, [5, 6])
        together = generate(tiny_pipe, [5, 6])
        retom.set_seeds(tiny_pipe, [6])
        alone = generate(tiny_pipe, [6])
        merged = [(site["tokens"], site["merged"]) for site in retom.report(tiny_pipe)]
    assert_same_images(together[1:], alone, together[:1])
    assert merged.count((1024, 512)) == 5
    assert snapshot(tiny_pipe.unet) == before
    assert torch.equal(generate(tiny_pipe, [1]), plain)


def test_fullgraph_and_no_recompilation_from_step_to_step():
    check_one_graph_per_kind_of_step(ToFu(prune=(0,), use_rand=False), steps=3, most=4)

"""CA-ToMe against a plain-loop reading of its paper, its cache, and how many tokens it leaves."""

from dataclasses import dataclass, field

import pytest
import torch
import torch.nn.functional as F

import retom
from baselines.ca_tome import CAToMe
from baselines.tomesd import ToMeSD
from tests.baselines.compiling import check_one_graph_per_kind_of_step
from tests.baselines.generating import assert_same_images, context, generate, snapshot, tokens

CORNERS = [row * 6 + column for row in range(0, 4, 2) for column in range(0, 6, 2)]


def links(x: torch.Tensor, destinations: list[int]) -> list[tuple[float, int, int]]:
    """(similarity, source, its destination) of one image, most similar first."""
    unit = F.normalize(x.double(), dim=-1)
    found = []
    for source in sorted(set(range(len(x))) - set(destinations)):
        similarity, nearest = max((float(unit[source] @ unit[token]), token) for token in destinations)
        found.append((similarity, source, nearest))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.35, 0.9])
def test_a_plain_loop_reading_of_the_paper(threshold):
    grid, x = (4, 6), tokens(1, (4, 6))
    plan = CAToMe(threshold=threshold, buckets=24, use_rand=False).plan(x, grid, context())
    merged = [link for link in links(x[0], CORNERS) if link[0] > threshold]
    expected = x[0].clone()
    for token in CORNERS:
        cluster = [token] + [source for _, source, nearest in merged if nearest == token]
        expected[cluster] = x[0, cluster].mean(dim=0)
    assert plan.num_merged == 24 - len(merged)
    torch.testing.assert_close(plan.unmerge(plan.merge(x))[0], expected)


def test_a_threshold_below_all_pairs_is_tomesd_at_its_largest_ratio():
    x = tokens(2, (8, 8))
    ours = CAToMe(threshold=-1.0).plan(x, (8, 8), context((4, 5)))
    theirs = ToMeSD(ratio=0.75).plan(x, (8, 8), context((4, 5)))
    assert sorted(ours.dst_index[0].tolist()) == sorted(theirs.dst_index[0].tolist())
    torch.testing.assert_close(ours.unmerge(ours.merge(x)), theirs.unmerge(theirs.merge(x)))


def test_counts_are_the_smallest_of_the_rows_and_come_in_buckets():
    x = tokens(3, (4, 6))
    counts = [len([link for link in links(row, CORNERS) if link[0] > 0.3]) for row in x]
    assert len(set(counts)) > 1
    for buckets, step in ((24, 1), (6, 4), (5, 4)):
        plan = CAToMe(threshold=0.3, buckets=buckets, use_rand=False).plan(x, (4, 6), context((0, 0, 0)))
        assert plan.num_merged == 24 - min(counts) // step * step
    one = CAToMe(threshold=0.3, buckets=1, use_rand=False).plan(x, (4, 6), context((0, 0, 0)))
    assert one.is_identity


def test_a_fixed_ratio_averages_above_the_threshold_and_only_answers_below():
    grid, x = (4, 6), tokens(2, (4, 6))
    plan = CAToMe(threshold=0.35, ratio=0.6, use_rand=False).plan(x, grid, context((0, 0)))
    assert plan.num_merged == 10
    for image in range(2):
        found = links(x[image], CORNERS)[:14]
        assert 0 < len([link for link in found if link[0] > 0.35]) < 14
        expected = x[image].clone()
        for token in CORNERS:
            alike = [token] + [source for similarity, source, to in found if to == token and similarity > 0.35]
            follow = alike + [source for similarity, source, to in found if to == token and similarity <= 0.35]
            expected[follow] = x[image, alike].mean(dim=0)
        torch.testing.assert_close(plan.unmerge(plan.merge(x))[image], expected)


def test_a_fixed_ratio_keeps_images_apart_and_a_counted_one_says_it_does_not():
    x = tokens(3, (8, 8))
    method = CAToMe(threshold=0.2, ratio=0.5)
    together = method.plan(x, (8, 8), context((1, 2, 3)))
    for images in ([2, 1, 0], [1], [0, 2]):
        seeds = tuple(image + 1 for image in images)
        plan = method.plan(x[images], (8, 8), context(seeds))
        assert torch.equal(plan.assign, together.assign[images])
        assert torch.equal(plan.weight, together.weight[images])
    assert method.batch_limit is None
    assert CAToMe().batch_limit == 1


@dataclass(frozen=True)
class Watched(CAToMe):
    """CA-ToMe that records the steps at which pairs of the first site are computed."""

    found: list = field(default_factory=list)

    def plan(self, metric, grid, context):
        if context.layer == 0:
            self.found.append(context.step)
        return super().plan(metric, grid, context)


@pytest.mark.parametrize(("steps", "listed"), [((0, 2, 3), [0, 2, 3]), (None, [0, 1, 2, 3, 4])])
def test_pairs_are_found_at_the_listed_steps_of_a_generation_alone_and_counted(tiny_pipe, steps, listed):
    method = Watched(threshold=0.1, steps=steps)
    with retom.patched(tiny_pipe, method):
        for _ in range(2):
            tiny_pipe(["a cat"], num_inference_steps=4, height=64, width=64, output_type="latent")
        rows = [row for row in retom.report(tiny_pipe) if row["merged"] < row["tokens"]]
    assert method.found == listed * 2  # PNDM makes five calls for four steps
    assert {(row["plans_computed"], row["plans_reused"]) for row in rows} == {(2 * len(listed), 10 - 2 * len(listed))}


def test_a_plan_is_made_for_the_sites_backend():
    x = tokens(1, (8, 8))
    plan = CAToMe(threshold=0.0).plan(x, (8, 8), context(backend="matmul"))
    assert plan.backend == "matmul"
    torch.testing.assert_close(plan.merge(x), plan.on("gather").merge(x))


def test_a_threshold_of_one_and_a_ratio_of_zero_merge_nothing():
    x = torch.ones(1, 16, 4)
    for method in (CAToMe(threshold=1.0), CAToMe(ratio=0.0)):
        plan = method.plan(x, (4, 4), context())
        assert plan.is_identity
        assert torch.equal(plan.unmerge(plan.merge(x)), x)
        assert not method.merges
    assert CAToMe().merges
    assert CAToMe().plan(x, (4, 4), context(downsample=2)) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.1}, r"threshold must be in \[-1, 1\], got 1.1"),
        ({"steps": ()}, "steps must be increasing integers starting at 0"),
        ({"steps": (1, 5)}, r"steps must be increasing integers starting at 0, or None for every step, got \(1, 5\)"),
        ({"steps": (0, 5, 5)}, "steps must be increasing"),
        ({"ratio": 0.8}, "ratio must be at most 0.75 with window=2"),
        ({"buckets": 0}, "buckets must be an integer of at least 1, got 0"),
        ({"window": 1}, "window must be an integer of at least 2, got 1"),
        ({"max_downsample": 0}, "max_downsample must be None or an integer of at least 1"),
        ({"targets": ("value",)}, "targets must be one or more of"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        CAToMe(**options)


def test_images_merge_at_the_top_and_the_patch_comes_off(tiny_pipe):
    before, plain = snapshot(tiny_pipe.unet), generate(tiny_pipe, [1])
    with retom.patched(tiny_pipe, CAToMe(threshold=0.5)):
        image = generate(tiny_pipe, [1])
        merged = [site["tokens"] - site["merged"] for site in retom.report(tiny_pipe)]
        assert torch.equal(generate(tiny_pipe, [1]), image)
    assert snapshot(tiny_pipe.unet) == before
    assert torch.equal(generate(tiny_pipe, [1]), plain)
    assert any(merged)
    assert all(count % 64 == 0 for count in merged)  # 1,024 tokens in 16 buckets
    assert not torch.equal(image, plain)


def test_an_image_at_a_fixed_ratio_does_not_depend_on_its_batch(tiny_pipe):
    with retom.patched(tiny_pipe, CAToMe(threshold=0.5, ratio=0.5)):
        images = {}
        for seeds in ((1, 2), (2, 1), (1,), (3,)):
            retom.set_seeds(tiny_pipe, seeds)
            images[seeds] = generate(tiny_pipe, list(seeds))
        assert [site["merged"] for site in retom.report(tiny_pipe) if site["tokens"] == 1024] == [512] * 5
    assert_same_images(images[1, 2][:1], images[1,], images[3,])
    assert_same_images(images[2, 1][1:], images[1,], images[3,])


def test_a_fixed_ratio_compiles_as_one_graph_for_each_kind_of_step():
    # steps 0 and 1, the listed ones, the others; and step 0 of a later generation
    check_one_graph_per_kind_of_step(CAToMe(threshold=0.1, ratio=0.5, steps=(0, 2, 4)), steps=6, most=5)

"""The official package in the adapter: equal images, errors for silent failures, exact removal."""

import pytest
import tomesd
import torch
from diffusers import UNet2DConditionModel

import retom
from baselines.tomesd import ToMeSD
from baselines.tomesd_package import ToMeSDPackage
from tests.baselines.generating import assert_same_images, denoise, generate, snapshot


@pytest.fixture
def packaged(tiny_pipe):
    """The tiny pipeline with the defaults of the adapter."""
    method = ToMeSDPackage()
    method.apply(tiny_pipe)
    return tiny_pipe, method


def seeded(pipe, method, seed, guidance=7.5, draws=None):
    method.set_seeds(pipe, [seed if draws is None else draws])
    return generate(pipe, [seed], guidance)


def test_the_images_are_the_packages_own(tiny_pipe):
    method = ToMeSDPackage(use_rand=False)
    assert method.apply(tiny_pipe) == 16
    ours = generate(tiny_pipe, [1, 2])
    method.remove(tiny_pipe)
    tomesd.apply_patch(tiny_pipe, use_rand=False)
    assert torch.equal(ours, generate(tiny_pipe, [1, 2]))
    tomesd.remove_patch(tiny_pipe)
    with retom.patched(tiny_pipe, ToMeSD(use_rand=False)):
        assert torch.equal(ours, generate(tiny_pipe, [1, 2]))


def test_random_choices_follow_the_images_seed_whatever_ran_before(packaged):
    pipe, method = packaged
    first = seeded(pipe, method, 1)
    torch.rand(3)  # the package's own generator would fork the global one
    second = seeded(pipe, method, 2)
    assert torch.equal(seeded(pipe, method, 1), first)
    assert torch.equal(seeded(pipe, method, 2), second)
    assert not torch.equal(seeded(pipe, method, 1, draws=3), first)


def test_random_choices_do_not_depend_on_when_the_patch_was_applied(packaged):
    pipe, method = packaged
    first = seeded(pipe, method, 1)
    method.remove(pipe)
    method.apply(pipe)
    assert torch.equal(seeded(pipe, method, 1), first)


def test_the_global_random_state_is_left_alone(packaged):
    pipe, method = packaged
    before = torch.get_rng_state()
    seeded(pipe, method, 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_choices_are_not_the_stream_of_the_noise(packaged):
    pipe, method = packaged
    seeded(pipe, method, 1)
    generator = pipe.unet._tome_info["args"]["generator"]
    assert generator.initial_seed() != 1


def test_batch_limit_is_one_image_while_choices_are_random(packaged):
    pipe, method = packaged
    assert method.batch_limit == 1
    alone = seeded(pipe, method, 2)
    method.set_seeds(pipe, [1, 2])
    together = generate(pipe, [1, 2])
    assert (together[1:] - alone).abs().max() > 1e-4  # why there is a limit
    assert ToMeSDPackage(use_rand=False).batch_limit is None
    assert ToMeSDPackage(ratio=0.0).batch_limit is None


def test_without_randomness_any_batch_gives_the_same_images(tiny_pipe):
    plain = generate(tiny_pipe, [1, 2])
    ToMeSDPackage(use_rand=False).apply(tiny_pipe)
    together, alone = generate(tiny_pipe, [1, 2]), torch.cat([generate(tiny_pipe, [1]), generate(tiny_pipe, [2])])
    assert_same_images(together, alone, plain)


def test_the_report_counts_what_really_ran(packaged):
    pipe, method = packaged
    assert {site["merged"] for site in method.report(pipe)} == {None}
    seeded(pipe, method, 1)
    report = method.report(pipe)
    pipe_again = {site["site"]: site for site in report}
    method.remove(pipe)
    with retom.patched(pipe, ToMeSD()):
        generate(pipe, [1])
        assert [set(site) for site in retom.report(pipe)] == [set(site) for site in report]
        for theirs in retom.report(pipe):
            assert pipe_again[theirs["site"]] == theirs
    assert sum(site["merged"] < site["tokens"] for site in report) == 5


def test_other_sublayers_are_counted_where_they_merge(tiny_pipe):
    method = ToMeSDPackage(targets=("cross", "ff"), max_downsample=8)
    method.apply(tiny_pipe)
    denoise(tiny_pipe.unet)
    assert all(site["merged"] == site["tokens"] // 2 for site in method.report(tiny_pipe))


def small_unet(**options) -> UNet2DConditionModel:
    """A U-Net like that of SDXL: no transformer block at the top level."""
    sizes = {"sample_size": 16, "block_out_channels": (32, 64), "layers_per_block": 1, "norm_num_groups": 16}
    blocks = {
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    }
    return UNet2DConditionModel(**sizes, **blocks, cross_attention_dim=32, attention_head_dim=8, **options).eval()


def test_a_topology_without_attention_at_the_top_shows_as_merging_nothing():
    unet = small_unet()
    for depth, merged in ((1, 64), (2, 32)):
        method = ToMeSDPackage(max_downsample=depth)
        method.apply(unet)
        denoise(unet, (16, 16))
        assert {(site["tokens"], site["merged"]) for site in method.report(unet)} == {(64, merged)}
        assert {site["plans_computed"] for site in method.report(unet)} == {int(merged < 64)}
        method.remove(unet)


def test_the_patch_comes_off_exactly(tiny_pipe):
    before, plain = snapshot(tiny_pipe.unet), denoise(tiny_pipe.unet)
    method = ToMeSDPackage()
    method.apply(tiny_pipe)
    assert not torch.equal(denoise(tiny_pipe.unet), plain)
    method.remove(tiny_pipe)
    assert snapshot(tiny_pipe.unet) == before
    assert torch.equal(denoise(tiny_pipe.unet), plain)
    method.remove(tiny_pipe)
    assert snapshot(tiny_pipe.unet) == before


def test_ratio_zero_is_the_identity(tiny_pipe):
    plain = denoise(tiny_pipe.unet)
    method = ToMeSDPackage(ratio=0.0)
    method.apply(tiny_pipe)
    assert torch.equal(denoise(tiny_pipe.unet), plain)
    assert not method.merges


def test_an_odd_batch_is_refused_instead_of_losing_its_randomness(packaged):
    pipe, method = packaged
    with pytest.raises(ValueError, match=r"disables random destinations for an odd number of rows, .* called with 1;"):
        seeded(pipe, method, 1, guidance=1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 0.9}, "ratio must be at most 0.75 with sx=2, sy=2"),
        ({"ratio": -0.1}, r"ratio must be in \[0, 1\), got -0.1"),
        ({"sy": 0}, "sy must be an integer of at least 1, got 0"),
        ({"max_downsample": None}, "max_downsample must be an integer of at least 1, got None"),
        ({"targets": ()}, "targets must be one or more of self, cross, ff"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ToMeSDPackage(**options)


def test_what_cannot_be_patched_is_refused(packaged, tiny_original):
    pipe, method = packaged
    with pytest.raises(ValueError, match=r"is patched by tomesd; call tomesd\.remove_patch first"):
        method.apply(pipe)
    with pytest.raises(ValueError, match=r"is patched by tomesd; call tomesd\.remove_patch first"):
        retom.apply_patch(pipe)
    with pytest.raises(ValueError, match="tomesd patches U-Nets with transformer blocks, got AutoencoderKL"):
        method.apply(tiny_original.vae)
    with pytest.raises(ValueError, match="not patched by ToMeSDPackage; call apply first"):
        method.report(tiny_original)
    with pytest.raises(ValueError, match="one integer per image, got none"):
        method.set_seeds(pipe, [])


def test_a_u_net_patched_by_retom_is_refused(tiny_pipe):
    with (
        retom.patched(tiny_pipe),
        pytest.raises(ValueError, match=r"is patched already; call retom\.remove_patch first"),
    ):
        ToMeSDPackage().apply(tiny_pipe)


def test_gligen_which_the_package_drops_is_refused():
    with pytest.raises(ValueError, match="tomesd silently drops the layers of GLIGEN"):
        ToMeSDPackage().apply(small_unet(attention_type="gated"))

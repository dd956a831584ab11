"""The image, guidance branch and frame of each row of a batch, in every family; unknown rows raise an error."""

import pytest
import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNet3DConditionModel, UNetMotionModel

import retom
from baselines.ibtm import IBTM
from retom.state.rows import Rows
from tests.retom.tiny_unet import TINY


class Spy(retom.ReToM):
    """ReToM that records the contexts of the first site."""

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "seen", [])

    def plan(self, metric, grid, context):
        if context.layer == 0:
            self.seen.append(context)
        return super().plan(metric, grid, context)


def motion_unet():
    torch.manual_seed(0)
    adapter = MotionAdapter(
        block_out_channels=TINY["block_out_channels"],
        motion_layers_per_block=1,
        motion_norm_num_groups=8,
        motion_num_attention_heads=2,
        use_motion_mid_block=False,
    )
    return UNetMotionModel.from_unet2d(UNet2DConditionModel(**TINY), adapter).eval()


def video_unet():
    torch.manual_seed(0)
    blocks = {
        key: tuple(kind.replace("2D", "3D") for kind in TINY[key]) for key in ("down_block_types", "up_block_types")
    }
    return UNet3DConditionModel(**TINY | blocks).eval()


VIDEO = {"animatediff": (motion_unet, 3), "text_to_video": (video_unet, 1)}  # how often the text is repeated


def call(unet, x, repeats):
    text = torch.randn(1, 7, 32, generator=torch.Generator().manual_seed(3)).expand(len(x) * repeats, -1, -1)
    with torch.no_grad():
        return unet(x, torch.tensor(500), encoder_hidden_states=text).sample


@pytest.mark.parametrize("name", VIDEO)
def test_the_frames_of_a_video_share_its_seed_in_every_branch(name):
    made, repeats = VIDEO[name]
    unet, spy = made(), Spy(destination="random")
    with retom.patched(unet, spy):
        retom.set_seeds(unet, [11, 22])
        call(unet, torch.randn(4, 4, 3, 16, 16), repeats)
    output = spy.seen[0]
    assert output.seeds.tolist() == 2 * ([11] * 3 + [22] * 3)
    assert (output.rows.frames, output.rows.images, output.rows.branches) == (3, 2, 2)
    assert output.rows.image().tolist() == 2 * ([0] * 3 + [1] * 3)
    assert output.rows.branch().tolist() == [0] * 6 + [1] * 6


@pytest.mark.parametrize("name", VIDEO)
def test_a_video_of_a_batch_is_as_it_is_alone(name):
    made, repeats = VIDEO[name]
    unet, x = made(), torch.randn(2, 4, 3, 16, 16)
    with retom.patched(unet, ratio=0.5, destination="random"):
        retom.set_seeds(unet, [11, 22])
        both = call(unet, x, repeats)
        retom.set_seeds(unet, [22])
        torch.testing.assert_close(call(unet, x[1:], repeats), both[1:], atol=1e-5, rtol=1e-4)
        retom.set_seeds(unet, [33])
        assert not torch.allclose(call(unet, x[1:], repeats), both[1:], atol=1e-4)


def test_importance_compares_the_same_frame_of_the_same_video():
    """Two videos with guidance after a first step: changing one does not change the merges of the other."""
    unet, x = motion_unet(), torch.randn(2, 4, 3, 16, 16)
    text = torch.randn(4, 7, 32).repeat_interleave(3, dim=0)

    def denoise(videos):
        retom.set_seeds(unet, [11, 22][: len(videos)])
        rows = [row for branch in range(2) for row in range(branch * 6, branch * 6 + 3 * len(videos))]
        with torch.no_grad():
            for timestep in torch.tensor([900.0, 500.0]):
                both = unet(torch.cat([videos, videos]), timestep, encoder_hidden_states=text[rows]).sample
        return both[: len(videos)]

    with retom.patched(unet, IBTM()):
        together = denoise(x)
        torch.testing.assert_close(denoise(x[:1]), together[:1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("images", "rows", "reason"),
    [
        (2, 6, "3 for each of 2; disable the other guidance"),  # perturbed attention guidance
        (1, 4, "4 for each of 1"),
        (None, 3, "but it is unknown which images they are; call retom.set_seeds"),
        (None, 4, "but it is unknown which images they are; call retom.set_seeds"),
    ],
)
def test_a_method_that_compares_branches_refuses_those_it_cannot_tell(images, rows, reason):
    unet = UNet2DConditionModel(**TINY).eval()
    with retom.patched(unet, IBTM()):
        if images:
            retom.set_seeds(unet, list(range(images)))
        with pytest.raises(ValueError, match=f"needs 1 or 2 branches of guidance, .* with {rows} rows, {reason}"):
            unet(torch.randn(rows, 4, 16, 16), 500, encoder_hidden_states=torch.randn(rows, 7, 32))


def test_images_without_guidance_are_not_taken_for_branches_although_their_seeds_are_equal():
    unet, x, text = UNet2DConditionModel(**TINY).eval(), torch.randn(2, 4, 16, 16), torch.randn(2, 7, 32)
    with retom.patched(unet, IBTM()), torch.no_grad():
        images = {}
        for rows in ([0, 1], [0]):
            retom.set_seeds(unet, [5] * len(rows))
            for timestep in torch.tensor([900.0, 500.0]):
                images[len(rows)] = unet(x[rows], timestep, encoder_hidden_states=text[rows]).sample
    torch.testing.assert_close(images[1], images[2][:1], atol=1e-5, rtol=1e-4)


def test_the_guidance_of_pag_stacks_three_branches_whose_rows_share_their_seeds(tiny_pipe):
    from diffusers import StableDiffusionPAGPipeline

    parts = {**tiny_pipe.components, "requires_safety_checker": False}
    pipe = StableDiffusionPAGPipeline(**parts, pag_applied_layers=["mid"])
    pipe.set_progress_bar_config(disable=True)
    spy = Spy(destination="random", ratio=0.5)

    def draw(seeds):
        retom.set_seeds(pipe, seeds)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        options = {"num_inference_steps": 2, "height": 64, "width": 64, "output_type": "pt", "pag_scale": 3.0}
        return pipe(["a cat"] * len(seeds), generator=generators, **options).images

    with retom.patched(pipe, spy):
        both = draw([1, 2])
        assert spy.seen[0].rows.branches == 3
        torch.testing.assert_close(draw([2]), both[1:], atol=1e-5, rtol=1e-4)


def test_rows_that_are_cut_inside_the_model_are_refused():
    unet = UNet2DConditionModel(**TINY).eval()
    parent = unet.down_blocks[0].attentions[0]
    with retom.patched(unet, ratio=0.5):
        forward = parent.forward
        vars(parent)["forward"] = lambda x, *args, **kwargs: forward(x[:1], *args, **kwargs)
        try:
            with pytest.raises(ValueError, match=r"1 rows in a model that is called with 2, so it is unknown"):
                unet(torch.randn(2, 4, 16, 16), 500, encoder_hidden_states=torch.randn(2, 7, 32))
        finally:
            vars(parent)["forward"] = forward


def test_rows_tell_their_places():
    rows = Rows(12, frames=2, images=3)
    assert rows.branches == 2
    assert rows.image().tolist() == [0, 0, 1, 1, 2, 2] * 2
    assert rows.branch().tolist() == [0] * 6 + [1] * 6
    assert Rows(4).branches is None
    with pytest.raises(ValueError, match=r"it is unknown which image each of 4 rows belongs to; call retom.set_seeds"):
        Rows(4).image()

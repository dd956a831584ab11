"""Pipelines that need more than a prompt are refused by their model_index.json, before any weight is read."""

import json
import shutil
from pathlib import Path

import diffusers
import pytest
from diffusers import DDPMPipeline, StableDiffusionImg2ImgPipeline, StableDiffusionPipeline, UNet2DModel

from eval.errors import RunError
from eval.generation.models.config import ModelConfig
from eval.generation.models.skeleton import denoiser_skeleton
from eval.generation.models.text_to_image import check_text_to_image
from eval.generation.pipelines import load_pipeline
from eval.generation.sampler import SamplerConfig

SUPPORTED = "a run needs a text-to-image pipeline, which takes a prompt alone"


def check(name: object, *, in_channels: int = 4, **index: object) -> None:
    options = {"in_channels": in_channels, "out_channels": 4}
    check_text_to_image(
        {"_class_name": name, "vae": ["diffusers", "AutoencoderKL"], **index}, "model x: F", lambda: options
    )


def refusal(name: object, **options: object) -> str:
    with pytest.raises(RunError) as caught:
        check(name, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        *("StableDiffusionPipeline", "StableDiffusionXLPipeline", "StableDiffusion3Pipeline", "FluxPipeline"),
        *("PixArtAlphaPipeline", "PixArtSigmaPipeline", "StableDiffusionPAGPipeline", "StableDiffusionGLIGENPipeline"),
        *("FluxKontextPipeline", "LatentConsistencyModelPipeline", "HunyuanDiTPipeline", "SanaPipeline"),
    ],
)
def test_text_to_image_pipelines_are_served(name: str) -> None:
    check(name)


@pytest.mark.parametrize(
    ("name", "sibling"),
    [
        ("StableDiffusionImg2ImgPipeline", "StableDiffusionPipeline"),
        ("StableDiffusionInpaintPipeline", "StableDiffusionPipeline"),
        ("StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLPipeline"),
        ("StableDiffusion3InpaintPipeline", "StableDiffusion3Pipeline"),
        ("FluxImg2ImgPipeline", "FluxPipeline"),
    ],
)
def test_the_sibling_of_an_image_pipeline_is_named(name: str, sibling: str) -> None:
    message = refusal(name)
    assert message.startswith(
        f"model x: F is a {name}, which needs an image (image); {SUPPORTED}: {sibling} has the same"
    )
    assert message.endswith(f"set _class_name in model_index.json to {sibling} and pass it with model.path=FOLDER")


def test_a_denoiser_that_is_given_the_image_has_no_sibling() -> None:
    assert refusal("StableDiffusionInpaintPipeline", in_channels=9).endswith(
        "choose a text-to-image model (this denoiser's 9 input channels include an image)"
    )


def test_the_refiner_is_named() -> None:
    message = refusal("StableDiffusionXLImg2ImgPipeline", requires_aesthetics_score=True)
    assert message.endswith("this is SDXL's refiner, which refines images of the base model; choose the base model")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("StableDiffusionControlNetPipeline", "needs an image (image)"),
        ("FluxControlPipeline", "needs an image (control_image)"),
        ("StableDiffusionUpscalePipeline", "needs an image (image)"),
        ("StableDiffusionImageVariationPipeline", "needs an image (image)"),
        ("StableVideoDiffusionPipeline", "generates videos (num_frames)"),
        ("AnimateDiffPipeline", "generates videos (num_frames)"),
        ("WanPipeline", "generates videos (num_frames)"),
        ("DDPMPipeline", "does not take prompt, height, width, guidance_scale"),
        ("DiTPipeline", "does not take prompt, height, width"),
        ("AudioLDM2Pipeline", "does not take height, width"),
    ],
)
def test_pipelines_that_need_something_else_are_refused(name: str, why: str) -> None:
    if not hasattr(diffusers, name):
        pytest.skip(f"this diffusers has no {name}")
    message = refusal(name)
    assert message.startswith(f"model x: F is a {name}, which {why}; {SUPPORTED}: ")
    assert message.endswith("choose a text-to-image model")


def test_every_class_of_diffusers_is_decided_in_a_line() -> None:
    """Whatever the installed version has: no traceback, and some are served."""
    refused, known = [], [name for name in dir(diffusers) if name.endswith("Pipeline")]
    for name in known:
        try:
            check(name)
        except RunError as error:
            refused.append(str(error))
    assert not [message for message in refused if "\n" in message]
    assert 20 < len(refused) < len(known) - 20


@pytest.mark.parametrize("name", ["NoSuchPipeline", ["my_pipeline", "MyPipeline"], None, "UNet2DConditionModel"])
def test_classes_that_diffusers_lacks_are_refused(name: object) -> None:
    assert "names the pipeline class" in refusal(name)
    assert "update diffusers or choose another model" in refusal(name)


@pytest.fixture
def image_folder(tiny_original, tmp_path: Path) -> ModelConfig:
    StableDiffusionImg2ImgPipeline(**tiny_original.components, requires_safety_checker=False).save_pretrained(tmp_path)
    return ModelConfig("mine", path=str(tmp_path))


def test_a_folder_is_refused_without_its_weights(image_folder: ModelConfig) -> None:
    shutil.rmtree(Path(image_folder.path) / "vae")
    for file in Path(image_folder.path).rglob("*.safetensors"):
        file.unlink()
    for refused in (lambda: denoiser_skeleton(image_folder), lambda: load_pipeline(image_folder, SamplerConfig())):
        with pytest.raises(RunError, match="is a StableDiffusionImg2ImgPipeline, which needs an image"):
            refused()


def test_what_the_message_says_to_do_works(image_folder: ModelConfig) -> None:
    index = Path(image_folder.path) / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"_class_name": "StableDiffusionPipeline"}))
    pipe = load_pipeline(image_folder, SamplerConfig(height=64, width=64))
    assert type(pipe) is StableDiffusionPipeline


def test_an_unconditional_pipeline_is_refused(tmp_path: Path, tiny_original) -> None:
    unet = UNet2DModel(
        sample_size=8,
        block_out_channels=(32, 32),
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
    )
    DDPMPipeline(unet, tiny_original.scheduler).save_pretrained(tmp_path)
    with pytest.raises(RunError, match="is a DDPMPipeline, which does not take prompt"):
        load_pipeline(ModelConfig("mine", path=str(tmp_path)), SamplerConfig())


def test_a_damaged_index_is_one_line(image_folder: ModelConfig) -> None:
    (Path(image_folder.path) / "model_index.json").write_text("{")
    with pytest.raises(RunError, match="cannot be loaded") as caught:
        load_pipeline(image_folder, SamplerConfig())
    assert "\n" not in str(caught.value)

"""The full-size architectures have the published models' parameter counts. Built on the meta device: no memory."""

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from eval.generation.models.architectures import CLIP_BIG_G, CLIP_H, CLIP_L, KL_F8, SD15_UNET, SD21_UNET, SDXL_UNET
from eval.generation.models.config import ARCHITECTURES
from eval.generation.models.random_pipelines import PIPELINES, random_pipeline
from eval.generation.models.tiny import clip_tokenizer, text_config


def count(part):
    return sum(parameter.numel() for parameter in part.parameters())


@pytest.mark.parametrize(
    ("config", "parameters", "blocks"),
    [(SD15_UNET, 859_520_964, 16), (SD21_UNET, 865_910_724, 16), (SDXL_UNET, 2_567_463_684, 70)],
)
def test_the_unets_are_full_size(config, parameters, blocks):
    with torch.device("meta"):
        unet = UNet2DConditionModel(**config)
    assert count(unet) == parameters
    assert sum(isinstance(part, BasicTransformerBlock) for part in unet.modules()) == blocks


def test_the_vae_is_full_size():
    with torch.device("meta"):
        assert count(AutoencoderKL(**KL_F8)) == 83_653_863


@pytest.mark.parametrize(
    ("kind", "config", "parameters"),
    [
        (CLIPTextModel, CLIP_L, 123_060_480),
        (CLIPTextModel, CLIP_H, 340_387_840),
        (CLIPTextModelWithProjection, CLIP_BIG_G, 694_659_840),
    ],
)
def test_the_text_encoders_are_full_size(kind, config, parameters):
    with torch.device("meta"):
        assert count(kind(text_config(clip_tokenizer(), **config))) == parameters


def test_an_unknown_architecture_is_named():
    with pytest.raises(ValueError, match=r"architecture must be one of sd15, sd21, sdxl, pixart, .*, got 'sd4'"):
        random_pipeline("sd4")


def test_every_architecture_of_a_configuration_has_its_pipeline() -> None:
    assert tuple(PIPELINES) == ARCHITECTURES

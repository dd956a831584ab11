"""Fixtures of the library's tests."""

import pytest
import torch
from diffusers import UNet2DConditionModel

from tests.retom.tiny_unet import TINY


@pytest.fixture
def unet():
    torch.manual_seed(0)
    return UNet2DConditionModel(**TINY).eval()

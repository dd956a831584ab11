"""Copies of a patched model compute with their own weights and have their own state."""

import copy
import io

import pytest
import torch

import retom


def call(unet, text, timestep=500):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        return unet(torch.randn(2, 4, 16, 16, generator=generator), timestep, encoder_hidden_states=text).sample


def pickled(unet):
    file = io.BytesIO()
    torch.save(unet, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPY = pytest.mark.parametrize("made", [copy.deepcopy, pickled])


@COPY
@pytest.mark.parametrize("metric", ["attn_input", "block_input"])
def test_a_copy_has_weights_and_counts_of_its_own(unet, made, metric):
    text = torch.randn(2, 7, 32)
    with retom.patched(unet, metric=metric):
        expected = call(unet, text)
        other = made(unet)
        assert retom.report(other) == retom.report(unet)
        with torch.no_grad():
            for weight in unet.parameters():
                weight.zero_()
        assert torch.equal(call(other, text.clone()), expected)
        assert [row["plans_computed"] for row in retom.report(other)] == [2] * 4
        assert [row["plans_computed"] for row in retom.report(unet)] == [1] * 4
    assert torch.equal(call(other, text.clone()), expected)  # taking the patch off the original leaves the copy's


@COPY
def test_a_copy_amid_a_generation_begins_one_of_its_own(unet, made):
    text = torch.randn(2, 7, 32)
    with retom.patched(unet, period=20, destination="random"):
        first = call(unet, text)
        call(unet, text, 400)
        other = made(unet)
        assert torch.equal(call(other, text), first)
        assert [row["plans_computed"] for row in retom.report(unet)] == [1] * 4


@COPY
def test_the_patch_comes_off_a_copy(unet, made):
    text = torch.randn(2, 7, 32)
    plain = call(unet, text)
    with retom.patched(unet):
        other = made(unet)
    retom.remove_patch(other)
    assert torch.equal(call(other, text), plain)
    assert not any("forward" in vars(module) or "_diffusers_hook" in vars(module) for module in other.modules())

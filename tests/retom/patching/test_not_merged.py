"""Sub-layers that need all tokens run on all tokens, with a warning."""

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

import retom
from retom.patching.sites import find_sites, halvings


def call(unet, **options):
    generator = torch.Generator().manual_seed(0)
    x, text = torch.randn(1, 4, 32, 32, generator=generator), torch.randn(1, 77, 32, generator=generator)
    with torch.no_grad():
        return unet(x, torch.tensor(500), encoder_hidden_states=text, **options).sample


def attention(unet):
    return unet.down_blocks[0].attentions[0].transformer_blocks[0].attn1


class MapReader:
    """Stores the attention map, as attend-and-excite and prompt-to-prompt do."""

    def __init__(self):
        self.maps = []

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, **kwargs):
        given = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = attn.to_q(hidden_states), attn.to_k(given), attn.to_v(given)
        query, key, value = (attn.head_to_batch_dim(part) for part in (query, key, value))
        probabilities = attn.get_attention_scores(query, key, attention_mask)
        self.maps.append(tuple(probabilities.shape))
        return attn.to_out[0](attn.batch_to_head_dim(torch.bmm(probabilities, value)))


class SoftmaxReader(MapReader):
    """The same by hand."""

    def __call__(self, attn, hidden_states, **kwargs):
        query, key, value = (
            attn.head_to_batch_dim(layer(hidden_states)) for layer in (attn.to_q, attn.to_k, attn.to_v)
        )
        probabilities = (query @ key.transpose(1, 2) * attn.scale).softmax(dim=-1)
        self.maps.append(tuple(probabilities.shape))
        return attn.to_out[0](attn.batch_to_head_dim(probabilities @ value))


class Flash:
    """A custom processor that never reads the map."""

    def __call__(self, attn, hidden_states, **kwargs):
        return AttnProcessor2_0()(attn, hidden_states, **kwargs)


def first(unet):
    return next(row for row in retom.report(unet) if row["site"].startswith("down_blocks.0.attentions.0"))


@pytest.mark.parametrize("kind", [MapReader, SoftmaxReader])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("metric", ["attn_input", "block_input"])
def test_a_processor_that_reads_the_map_sees_every_token(tiny_pipe, kind, when, metric):
    unet, reader = tiny_pipe.unet, kind()
    if when == "before":
        attention(unet).set_processor(reader)
    with retom.patched(unet, ratio=0.5, metric=metric):
        attention(unet).set_processor(reader)
        with pytest.warns(UserWarning, match=f"is not merged: its {kind.__name__} reads the attention map"):
            call(unet)
        assert {shape[1:] for shape in reader.maps} == {(1024, 1024)}
        assert first(unet)["merged"] == first(unet)["tokens"] == 1024
        assert sum(row["merged"] < row["tokens"] for row in retom.report(unet)) == 15
        attention(unet).set_processor(AttnProcessor())
        call(unet)
        assert first(unet)["merged"] == 512  # another processor, and it merges again


@pytest.mark.parametrize("kind", [AttnProcessor, AttnProcessor2_0, Flash])
def test_other_processors_run_on_merged_tokens(tiny_pipe, kind):
    unet = tiny_pipe.unet
    attention(unet).set_processor(kind())
    with retom.patched(unet, ratio=0.5):
        call(unet)
        assert all(row["merged"] < row["tokens"] for row in retom.report(unet))


def test_a_reader_of_cross_attention_sees_every_query(tiny_pipe):
    unet, reader = tiny_pipe.unet, MapReader()
    unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2.set_processor(reader)
    with retom.patched(unet, ratio=0.5, targets=("self", "cross")):
        with pytest.warns(UserWarning, match="reads the attention map"):
            call(unet)
        assert first(unet)["merged"] == 512  # self-attention merges all the same
    assert {shape[1:] for shape in reader.maps} == {(1024, 77)}


def reference(unet, place=0):
    """Pass separate keys to one self-attention, as reference-only control does. Returns the handle to remove them."""
    bank = torch.randn(1, 50, 32, generator=torch.Generator().manual_seed(9))

    def add(module, args, kwargs):
        return args, {**kwargs, "encoder_hidden_states": torch.cat([args[0], bank[..., : args[0].shape[2]]], dim=1)}

    return attention(unet).register_forward_pre_hook(add, with_kwargs=True)


@pytest.mark.parametrize("targets", [("self",), ("self_kv",)])
def test_keys_of_a_reference_are_attended_to(tiny_pipe, targets):
    unet = tiny_pipe.unet
    with retom.patched(unet, ratio=0.5, targets=targets):
        without = call(unet)
        handle = reference(unet)
        if targets == ("self_kv",):
            with pytest.warns(UserWarning, match=r"not merged: it receives its own keys \(encoder_hidden_states\)"):
                given = call(unet)
        else:
            given = call(unet)
        handle.remove()
        assert (given - without).abs().max() > 1e-4
        assert torch.equal(call(unet), without)


def test_controlnet_xs_has_its_levels(tiny_pipe):
    from diffusers.models.controlnets.controlnet_xs import ControlNetXSAdapter, UNetControlNetXSModel

    adapter = ControlNetXSAdapter.from_unet(
        tiny_pipe.unet, size_ratio=1.0, conditioning_embedding_out_channels=(16, 32)
    )
    model = UNetControlNetXSModel.from_unet(tiny_pipe.unet, adapter).eval()
    control = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    for deepest, grids in ((1, {(32, 32)}), (2, {(32, 32), (16, 16)}), (None, {(32, 32), (16, 16), (8, 8), (4, 4)})):
        with retom.patched(model, ratio=0.5, window=2, max_downsample=deepest):
            call(model, controlnet_cond=control)
            rows = retom.report(model)
        assert {tuple(row["grid"]) for row in rows if row["merged"] < row["tokens"]} == grids
    by_name = {site.name: site.downsample for site in find_sites(model)}
    assert {by_name[row["site"]] for row in rows} == {1, 2, 4, 8}
    assert all(by_name[row["site"]] == 32 // row["grid"][0] for row in rows)


@pytest.mark.parametrize(
    ("top", "grid", "coarser"),
    [
        ((64, 64), (64, 64), 1),
        ((64, 64), (16, 16), 4),
        ((17, 9), (9, 5), 2),
        ((17, 9), (5, 3), 4),
        ((17, 9), (3, 2), 8),
        ((1, 5), (1, 1), 8),
        ((64, 64), (21, 21), 3),  # a level that a trick has shrunk
        ((64, 96), (48, 96), 1),
    ],
)
def test_a_level_is_recognised_by_its_grid(top, grid, coarser):
    assert halvings(top, grid) == coarser


def test_odd_latents_have_the_levels_that_even_ones_have(tiny_pipe):
    unet = tiny_pipe.unet
    with retom.patched(unet, ratio=0.5, window=2, max_downsample=2), torch.no_grad():
        x, text = torch.randn(1, 4, 40, 24), torch.randn(1, 77, 32)
        unet(x, torch.tensor(500), encoder_hidden_states=text)
        found = {tuple(row["grid"]) for row in retom.report(unet) if row["merged"] < row["tokens"]}
    assert found == {(40, 24), (20, 12)}

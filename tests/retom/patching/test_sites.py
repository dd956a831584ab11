"""The sites of a model, their sub-layers, and the grid from Flux's ids."""

import pytest
import torch

import retom
from retom.families.flux import packed_grid
from retom.patching.sites import find_sites
from tests.retom.tiny_joint import GRID, MODELS, flux, position_ids, sd3


def snapshot(model):
    return {name: dict(vars(module)) for name, module in model.named_modules()}


def test_sites_are_in_running_order():
    names = [site.name for site in find_sites(flux())]
    assert names == [f"transformer_blocks.{i}" for i in range(2)] + [f"single_transformer_blocks.{i}" for i in range(3)]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("targets", [("cross",), ("self_kv",), ("self", "cross")])
def test_targets_that_a_family_has_not_are_refused_before_anything_runs(name, targets):
    model = MODELS[name]()
    before = snapshot(model)
    with pytest.raises(
        ValueError, match=rf"one or more of self, ff \(its self-attention .* text\), got '{targets[-1]}'"
    ):
        retom.apply_patch(model, ratio=0.5, targets=targets)
    assert snapshot(model) == before


def test_ids_that_are_not_one_image_are_refused():
    ids = position_ids(GRID)
    assert packed_grid(ids) == packed_grid(ids[None]) == packed_grid(ids + torch.tensor([1.0, 3.0, 2.0])) == GRID
    reference = position_ids((2, 6)) + torch.tensor([1.0, 0.0, 0.0])
    for bad in (torch.cat([ids, reference]), ids[:-1], ids.flip(0), ids[torch.randperm(24)]):
        with pytest.raises(ValueError, match=r"img_ids must have the rows and columns of one image"):
            packed_grid(bad)


def test_ids_in_half_precision_are_read_beyond_what_it_counts():
    assert packed_grid(position_ids((2, 300)).bfloat16()) == (2, 300)
    assert packed_grid(position_ids((300, 2)).bfloat16()) == (300, 2)


def test_a_block_with_two_self_attentions_is_one_site():
    sites = find_sites(sd3(dual=(0, 1)))
    assert [list(site.sublayers(("self",))) for site in sites] == [["self", "self_image"]] * 2 + [["self"]]
    assert sites[0].sublayers(("self",))["self_image"] is sites[0].block.attn2
    assert list(sites[0].sublayers(("ff",))) == ["ff"]


def test_blocks_outside_of_a_model_that_knows_their_grid_are_no_sites():
    blocks = flux().transformer_blocks
    with pytest.raises(ValueError, match=r"ModuleList has no site where tokens can be merged; supported are U-Nets"):
        retom.apply_patch(blocks)

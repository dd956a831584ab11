"""Prompts: names, subsets, seeds without collisions, hash."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eval.generation.prompts import ImageClass, PromptSet, image_seed, imagenet_classes


def test_all_of_imagenet_by_default():
    items = PromptSet().items()
    assert len(items) == 2000
    assert len({item.key for item in items}) == len({item.file for item in items}) == 2000
    assert len({item.seed for item in items}) == 2000
    first = items[3]
    assert (first.key, first.file, first.wnid) == ("0001_001", "0001_001.png", "n01443537")
    assert first.prompt == "A high quality photograph of a goldfish."
    assert first.row()["class_index"] == 1


def test_both_name_lists_cover_the_same_classes_in_the_same_order():
    openai, wordnet = imagenet_classes("openai"), imagenet_classes("wordnet")
    assert [chosen.wnid for chosen in openai] == [chosen.wnid for chosen in wordnet]
    assert wordnet[2] == ImageClass(2, "n01484850", wordnet[2].name)
    assert wordnet[2].name.startswith("great white shark, white shark")
    assert openai[2].name == "great white shark"


@given(st.lists(st.tuples(st.integers(0, 4095), st.integers(0, 999), st.integers(0, 999)), unique=True, min_size=2))
def test_no_two_images_share_a_seed(triples):
    seeds = [image_seed(*triple) for triple in triples]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_seeds_differ_in_the_noise_they_give():
    # torch's CPU generator ignores all bits above the 32nd: a wider packing fails here
    corners = [(0, 0, 0), (1, 0, 0), (4095, 0, 0), (0, 999, 0), (0, 0, 999), (0, 1, 11), (0, 11, 1)]
    noise = [torch.randn(8, generator=torch.Generator().manual_seed(image_seed(*corner))) for corner in corners]
    assert len({tuple(values.tolist()) for values in noise}) == len(corners)


@pytest.mark.parametrize("triple", [(-1, 0, 0), (4096, 0, 0), (0, 1000, 0), (0, 0, 1000)])
def test_seed_out_of_range_is_refused(triple):
    with pytest.raises(ValueError, match=r"must be an integer in \[0,"):
        image_seed(*triple)


def test_a_count_is_spread_evenly():
    assert [chosen.index for chosen in PromptSet(classes=4).selected()] == [0, 250, 500, 750]
    assert len(PromptSet(classes=1000).selected()) == 1000
    assert [chosen.index for chosen in PromptSet(classes=1).selected()] == [0]


def test_wnids_are_taken_in_imagenet_order_whatever_the_order_given():
    one = PromptSet(classes=["n01484850", "n01443537"])
    other = PromptSet(classes=("n01443537", "n01484850"))
    assert [chosen.index for chosen in one.selected()] == [1, 2]
    assert one.hash == other.hash


def test_an_image_keeps_its_seed_in_every_subset():
    whole = {item.key: item for item in PromptSet().items()}
    assert all(whole[item.key] == item for item in PromptSet(classes=7).items())


@pytest.mark.parametrize(
    "change",
    [
        {"template": "a {class}"},
        {"names": "wordnet"},
        {"images_per_class": 3},
        {"classes": 4},
        {"seed": 1},
    ],
)
def test_the_hash_follows_every_option(change):
    base = PromptSet(classes=3)
    assert base.hash == PromptSet(classes=3).hash
    assert dataclasses.replace(base, **change).hash != base.hash


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"template": "a photo"}, r"template must contain \{class\}, got 'a photo'"),
        ({"template": "{class} {style}"}, r"template may contain the field \{class\} only, got \{style\}"),
        ({"names": "imagenet"}, "names must be one of openai, wordnet, got 'imagenet'"),
        ({"images_per_class": 0}, r"images_per_class must be an integer in \[1, 1000\], got 0"),
        ({"seed": 4096}, r"seed must be an integer in \[0, 4095\], got 4096"),
        ({"seed": True}, "seed must be an integer"),
        ({"classes": 1001}, r"classes must be an integer in \[1, 1000\], got 1001"),
        ({"classes": "n01443537"}, "classes must be null, a number or a list"),
        ({"classes": 10.5}, "classes must be null, a number or a list"),
        ({"classes": []}, "at least one wnid"),
        ({"classes": ["n01443536"]}, "unknown wnid 'n01443536', the nearest ImageNet-1k class is n01443537"),
        ({"classes": ["n01443537", "n01443537"]}, "n01443537 twice"),
    ],
)
def test_bad_values_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        PromptSet(**options)


def test_every_class_can_be_named_by_its_wnid() -> None:
    every = [chosen.wnid for chosen in imagenet_classes()]
    assert PromptSet(classes=every).classes == tuple(every)

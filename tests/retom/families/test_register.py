"""Families of your own: registered, or declared by an installed package; what is no family is refused by name."""

import sys

import pytest
import torch
from diffusers import DiTTransformer2DModel

import retom
from retom import families
from retom.families import Family, Sublayer, sides

SOURCE = """
from retom.families import Family, Sublayer, sides


class DiT(Family):
    title = "DiT"
    parents = ("DiTTransformer2DModel",)
    blocks = {"BasicTransformerBlock": {"self": Sublayer("attn1", mask="attention_mask"), "ff": Sublayer("ff")}}
    text = "class_labels"

    def grid(self, parent, read):
        return sides(read("hidden_states"), parent.config.patch_size)
"""


class DiT(Family):
    title = "DiT"
    parents = ("DiTTransformer2DModel",)
    blocks = {"BasicTransformerBlock": {"self": Sublayer("attn1"), "ff": Sublayer("ff")}}  # noqa: RUF012
    text = "class_labels"

    def grid(self, parent, read):
        return sides(read("hidden_states"), parent.config.patch_size)


def dit():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return DiTTransformer2DModel(
            num_attention_heads=2,
            attention_head_dim=8,
            in_channels=4,
            out_channels=4,
            num_layers=3,
            sample_size=8,
            num_embeds_ada_norm=10,
        ).eval()


def run(model, seed=0):
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return model(x, timestep=torch.tensor([5, 5]), class_labels=torch.tensor([1, 2])).sample


@pytest.fixture
def fresh(monkeypatch):
    """No registered families; installed ones are read again, before and after."""
    monkeypatch.setattr(families, "_registered", [])
    families._installed.cache_clear()
    yield
    families._installed.cache_clear()


@pytest.fixture
def installed(fresh, tmp_path, monkeypatch):
    """A function that installs a package with a module and entry points, as pip leaves it on disk."""
    names = []

    def install(package, source, **declared):
        names.append(package)
        (tmp_path / f"{package}.py").write_text(source)
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"{name} = {package}:{attribute}" for name, attribute in declared.items()]
        (info / "entry_points.txt").write_text("\n".join(["[retom.families]", *lines]) + "\n")

    monkeypatch.syspath_prepend(tmp_path)
    yield install
    for name in names:
        sys.modules.pop(name, None)


def check_merges():
    model = dit()
    plain = run(model)
    with retom.patched(model, ratio=0.0):
        assert torch.equal(run(model), plain)
    with retom.patched(model, ratio=0.5, window=2, targets=("self", "ff")) as sites:
        merged = run(model)
        assert [site["merged"] for site in retom.report(model)] == [8] * 3
    assert sites == 3
    assert not torch.equal(merged, plain)
    assert torch.equal(run(model), plain)


def test_an_architecture_that_nobody_serves_is_refused_with_the_ways_out(fresh):
    with pytest.raises(ValueError, match=r"DiTTransformer2DModel has no site .*docs/own_attention.md.*register"):
        retom.apply_patch(dit())


def test_a_registered_family_is_served_in_this_process(fresh):
    family = families.register(DiT())
    assert families.families()[0] is family
    assert families.served().endswith("Flux, and DiT")
    check_merges()


@pytest.mark.parametrize("declared", ["DiT", "family"])
def test_a_family_of_an_installed_package_is_served(installed, declared):
    installed("their_models", f"{SOURCE}\nfamily = DiT()\n", dit=declared)
    check_merges()


def test_a_broken_package_is_named_and_the_others_are_served(installed):
    installed("broken_models", "import no_such_package", video="Video")
    installed("number_models", "family = 5", five="family")
    installed("their_models", SOURCE, dit="DiT")
    with pytest.warns() as warned:
        check_merges()
    said = sorted(str(warning.message) for warning in warned)
    assert [message.partition(" (")[0] for message in said] == [
        "retom.families 'five' of the package number_models",
        "retom.families 'video' of the package broken_models",
    ]
    assert "cannot be imported (ModuleNotFoundError: No module named 'no_such_package')" in said[1]
    assert "family must be an instance of retom.families.Family, got 5" in said[0]
    run(dit())  # warned once


def test_two_packages_with_one_name_are_both_named(installed):
    installed("a_models", SOURCE, dit="DiT")
    installed("b_models", SOURCE, dit="DiT")
    with pytest.warns(UserWarning, match=r"'dit' of the package b_models .* is ignored: a_models declares it, too"):
        check_merges()


@pytest.mark.parametrize(
    ("family", "message"),
    [
        (DiT, "family must be an instance of retom.families.Family, got <class"),
        (object(), "family must be an instance of retom.families.Family"),
        (type("Empty", (Family,), {})(), "the family Empty must define title"),
        (type("Half", (Family,), {"title": "x", "parents": ("X",)})(), "the family Half must define blocks"),
        (type("Taken", (DiT,), {"title": "Flux"})(), "title must not be that of another family, got 'Flux' of Flux"),
    ],
)
def test_what_is_no_family_is_refused(fresh, family, message):
    with pytest.raises(ValueError, match=message):
        families.register(family)


def test_a_family_without_a_grid_says_so(fresh):
    class Gridless(DiT):
        grid = Family.grid

    families.register(Gridless())
    model = dit()
    with retom.patched(model), pytest.raises(NotImplementedError, match=r"Gridless must define grid\(parent, read\)"):
        run(model)

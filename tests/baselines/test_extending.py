"""docs/extending.md: the example is taken from the page as it stands, and works."""

import importlib
import sys
from pathlib import Path

import hydra
import pytest
import torch
from hydra import compose, initialize_config_dir

import retom
from tests.baselines.generating import generate, snapshot
from tests.docs.blocks import files

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "extending.md"


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The page's files in a folder that Python finds, forgotten again afterwards."""
    for name, body in files(PAGE).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(body, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_methods"]:
        del sys.modules[name]


def configured(folder: Path, *overrides: str):
    """The method as `scripts.run` builds it, from the page's YAML next to the project's own."""
    search = f"hydra.searchpath=[file://{folder}/conf]"
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("config", overrides=["method=pairs", "model=tiny_random", search, *overrides])
    return hydra.utils.instantiate(config.method)


def test_the_page_shows_one_short_file_for_each():
    shown = files(PAGE)
    assert {"my_methods/pairs.py", "my_methods/sharpness.py", "pyproject.toml", "conf/method/pairs.yaml"} <= set(shown)
    assert {"my_methods/dit.py", "conf/experiment/mine.yaml"} <= set(shown)
    assert sum(body.count("\n") for name, body in shown.items() if "pairs" in name) < 40
    assert shown["my_methods/sharpness.py"].count("\n") < 20


def test_the_example_composes_and_draws(example, tiny_pipe):
    method = configured(example, "method.ratio=0.5")
    assert type(method) is importlib.import_module("my_methods.pairs").Pairs
    assert method.ratio == 0.5
    before, plain = snapshot(tiny_pipe.unet), generate(tiny_pipe, [1])
    with retom.patched(tiny_pipe, method) as sites:
        images = generate(tiny_pipe, [1])
        assert all(site["merged"] == site["tokens"] // 2 for site in retom.report(tiny_pipe))
    assert sites == 16
    assert not torch.equal(images, plain)
    assert snapshot(tiny_pipe.unet) == before


def test_the_example_averages_the_most_similar_pairs(example):
    method = configured(example)
    x = torch.randn(2, 15, 4, generator=torch.Generator().manual_seed(0))
    plan = method.plan(x, (3, 5), None)
    for image in range(2):
        pairs = sorted(range(0, 14, 2), key=lambda left: -torch.cosine_similarity(*x[image, left : left + 2], dim=0))
        expected = x[image].clone()
        for left in pairs[:3]:
            expected[left : left + 2] = x[image, left : left + 2].mean(dim=0)
        torch.testing.assert_close(plan.unmerge(plan.merge(x))[image], expected)


def test_the_example_refuses_what_it_cannot_do(example):
    with pytest.raises(hydra.errors.InstantiationException, match=r"ratio must be in \[0, 0.5\], got 0.7"):
        configured(example, "method.ratio=0.7")

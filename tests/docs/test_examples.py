"""examples/: the notebook runs, its two forms are the same, and the script for your own attention merges."""

import importlib.util
import re

import nbformat
import pytest
import torch

from tests.docs.notebook import NOTEBOOK, ROOT, SCRIPT, executed, sources


@pytest.fixture
def own_attention():
    """examples/own_attention.py as a module."""
    spec = importlib.util.spec_from_file_location("own_attention", ROOT / "examples" / "own_attention.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_script_for_your_own_attention_runs(own_attention, capsys) -> None:
    own_attention.main()
    printed = capsys.readouterr().out
    assert "tokens: 4096 -> 2048" in printed
    assert 0 < float(re.search(r"output: ([\d.]+)", printed)[1]) < 0.1


def test_attention_runs_on_merged_tokens_and_a_plan_is_reused(own_attention) -> None:
    layer = own_attention.MergedAttention(own_attention.SelfAttention(16, 2), ratio=0.5, window=2, period=2)
    seen = []
    layer.attention.register_forward_pre_hook(lambda _module, args: seen.append(args[0].shape))
    x = own_attention.smooth_tokens(1, (8, 16), 16)
    plans = []
    for _ in range(3):
        assert layer(x, (8, 16)).shape == x.shape
        plans.append(layer.plan)
    assert seen == [(1, 64, 16)] * 3
    assert plans[0] is plans[1]
    assert plans[1] is not plans[2]
    layer.reset()
    assert layer.plan is None


def test_without_merging_the_attention_is_itself(own_attention) -> None:
    attention = own_attention.SelfAttention(16, 2)
    x = own_attention.smooth_tokens(1, (8, 8), 16)
    assert torch.equal(own_attention.MergedAttention(attention, ratio=0.0)(x, (8, 8)), attention(x))


def test_the_forms_of_the_notebook_are_the_same_and_it_is_small() -> None:
    import jupytext

    assert sources(nbformat.read(NOTEBOOK, 4)) == sources(jupytext.read(SCRIPT))
    assert NOTEBOOK.stat().st_size < 500_000


@pytest.mark.slow
def test_the_notebook_runs_and_prints_what_is_committed() -> None:
    def printed(notebook) -> list[str]:
        """What cells printed, without the numbers of metrics, which depend on the processor."""
        texts = [output["text"] for cell in notebook.cells for output in cell.get("outputs", []) if "text" in output]
        return [re.sub(r"\s*\d+\.\d+", " #", text) for text in texts]

    def shown(notebook) -> int:
        return sum("image/png" in o.get("data", {}) for cell in notebook.cells for o in cell.get("outputs", []))

    now, committed = executed(), nbformat.read(NOTEBOOK, 4)
    assert printed(now) == printed(committed)
    assert shown(now) == shown(committed) == 2

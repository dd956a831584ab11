"""examples/: the notebook runs, its two forms are the same, and the script for your own attention merges."""

import importlib.util
import re

import nbformat
import pytest

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

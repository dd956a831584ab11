"""The notebook of examples: `python -m tests.docs.notebook` runs its script form and writes the .ipynb with outputs."""

from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "look_inside.py"
NOTEBOOK = SCRIPT.with_suffix(".ipynb")


def executed() -> NotebookNode:
    """The script form as a notebook with the outputs of a run in examples/. Warnings of libraries are left out."""
    notebook = jupytext.read(SCRIPT)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(SCRIPT.parent)}}).execute()
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata.pop("execution", None)
        cell.outputs = [output for output in cell.get("outputs", []) if output.get("name") != "stderr"]
        if cell.cell_type == "markdown":
            del cell["outputs"]
    notebook.metadata.pop("language_info", None)
    return notebook


def sources(notebook: NotebookNode) -> list[tuple[str, str]]:
    """Kind and text of each cell."""
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


if __name__ == "__main__":
    nbformat.write(executed(), NOTEBOOK)

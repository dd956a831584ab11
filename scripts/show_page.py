"""A page to try prompts on: `python -m scripts.show --ui`. It needs gradio, which is an optional extra."""

import importlib.util
from collections.abc import Callable, Sequence

from eval.errors import RunError
from eval.report.sheet import Column
from scripts.command_line.prompting import check_prompt, check_seed

INSTALL = (
    "the page needs gradio, which is not installed: python -m pip install -e '.[ui]' "
    "(gradio wants Pillow below 13 and changes the pinned one; without --ui a sheet is written and needs nothing more)"
)
Draw = Callable[[Sequence[str], str, Sequence[int]], list[Column]]


def open_page(draw: Draw, known: Sequence[str], chosen: Sequence[str], prompt: str, seed: int) -> None:
    """Serve the page on this machine and open it in a browser, until Ctrl-C. RunError: gradio is not installed.

    known: the methods to choose from; chosen: those that are chosen at first, as are prompt and seed.
    """
    if importlib.util.find_spec("gradio") is None:
        raise RunError(INSTALL)
    page(draw, known, chosen, prompt, seed).launch(inbrowser=True, server_name="127.0.0.1")


def page(draw: Draw, known: Sequence[str], chosen: Sequence[str], prompt: str, seed: int):
    """The page as a gradio application: prompt, methods and seed on top, the pictures below."""
    import gradio

    def show(prompt: str, methods: list[str], seed: float) -> list[tuple]:
        try:
            return gallery(draw, prompt, methods, seed)
        except (RunError, ValueError) as error:
            raise gradio.Error(str(error)) from error

    with gradio.Blocks(title="Token merging", analytics_enabled=False) as blocks:
        gradio.Markdown("# One prompt by several methods\nThe unmerged model comes first; all draw the same seed.")
        text = gradio.Textbox(prompt, label="Prompt")
        methods = gradio.CheckboxGroup(list(known), value=list(chosen), label="Methods")
        number = gradio.Number(seed, precision=0, minimum=0, label="Seed")
        button = gradio.Button("Draw", variant="primary")
        pictures = gradio.Gallery(label="Pictures", columns=4, object_fit="contain")
        button.click(show, [text, methods, number], pictures, concurrency_limit=1)
    return blocks


def gallery(draw: Draw, prompt: str, methods: Sequence[str], seed: float) -> list[tuple]:
    """(picture, caption) of every method for one seed, the unmerged one first."""
    columns = draw(methods, check_prompt(prompt), [check_seed(int(seed))])
    return [
        (column.pictures[0], ", ".join(filter(None, [column.name, *column.captions, column.notes[0]])))
        for column in columns
    ]

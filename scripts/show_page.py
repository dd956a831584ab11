"""A page to try prompts: `python -m scripts.show --ui`. It needs gradio, an optional extra."""

import importlib.util
from collections.abc import Callable, Sequence

from eval.errors import RunError
from eval.report.figures.sheet import Column
from scripts.command_line.prompting import check_prompt, check_seed

INSTALL = (
    "the page needs gradio, which is not installed: python -m pip install -e '.[ui]' "
    "(gradio needs Pillow below 13 and changes the pinned version; without --ui a sheet is written without it)"
)
Generate = Callable[[Sequence[str], str, Sequence[int]], list[Column]]


def open_page(generate: Generate, known: Sequence[str], chosen: Sequence[str], prompt: str, seed: int) -> None:
    """Serve the page on this machine and open it in a browser, until Ctrl-C. RunError: gradio is not installed.

    known: the methods to choose from; chosen, prompt, seed: what the page starts with.
    """
    if importlib.util.find_spec("gradio") is None:
        raise RunError(INSTALL)
    page(generate, known, chosen, prompt, seed).launch(inbrowser=True, server_name="127.0.0.1")


def page(generate: Generate, known: Sequence[str], chosen: Sequence[str], prompt: str, seed: int):
    """The page as a gradio application: prompt, methods and seed on top, the images below."""
    import gradio

    def show(prompt: str, methods: list[str], seed: float) -> list[tuple]:
        try:
            return gallery(generate, prompt, methods, seed)
        except (RunError, ValueError) as error:
            raise gradio.Error(str(error)) from error

    with gradio.Blocks(title="Token merging", analytics_enabled=False) as blocks:
        gradio.Markdown("# One prompt by several methods\nThe baseline comes first; all generate the same seed.")
        text = gradio.Textbox(prompt, label="Prompt")
        methods = gradio.CheckboxGroup(list(known), value=list(chosen), label="Methods")
        number = gradio.Number(seed, precision=0, minimum=0, label="Seed")
        button = gradio.Button("Generate", variant="primary")
        images = gradio.Gallery(label="Images", columns=4, object_fit="contain")
        button.click(show, [text, methods, number], images, concurrency_limit=1)
    return blocks


def gallery(generate: Generate, prompt: str, methods: Sequence[str], seed: float) -> list[tuple]:
    """(image, caption) of every method for one seed, the baseline first."""
    columns = generate(methods, check_prompt(prompt), [check_seed(int(seed))])
    return [
        (column.images[0], ", ".join(filter(None, [column.name, *column.captions, column.notes[0]])))
        for column in columns
    ]

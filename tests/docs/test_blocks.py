"""Every python block of README.md and docs/ runs, page by page and in order; every file that a page shows parses."""

from pathlib import Path

import pytest
import yaml

import retom
from tests.docs.blocks import LANGUAGES, PAGES, ROOT, blocks

WITH_PYTHON = [page for page in PAGES if any(block.language == "python" for block in blocks(page))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_is_of_a_known_language(page: Path) -> None:
    assert {block.language for block in blocks(page)} <= set(LANGUAGES)
    for block in blocks(page):
        if block.language == "yaml":
            assert block.file, f"{block}: name the file above the block"
            assert yaml.safe_load(block.text)


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_runs(page: Path, tiny_pipe, found) -> None:
    class SmallCalls(type(tiny_pipe)):
        """The same pipeline, whose calls take one step instead of fifty."""

        def __call__(self, prompt: str):
            return super().__call__(prompt, height=64, width=64, num_inference_steps=1)

    before = {name: set(vars(module)) for name, module in tiny_pipe.unet.named_modules()}
    tiny_pipe.__class__ = SmallCalls
    namespace = {"pipe": tiny_pipe, "__name__": "page"}
    for block in blocks(page):
        if block.language == "python":
            assert block.reason is None
            exec(compile("\n" * block.line + block.text, str(page), "exec"), namespace)
    for name, test in list(namespace.items()):
        if name.startswith("test_"):
            test()
    assert {name: set(vars(module)) for name, module in tiny_pipe.unet.named_modules()} == before


def test_the_first_python_of_the_readme_merges(tiny_pipe, capsys) -> None:
    test_python_runs(ROOT / "README.md", tiny_pipe, None)
    assert "'merged': 512" in capsys.readouterr().out
    assert retom.apply_patch(tiny_pipe) == 16

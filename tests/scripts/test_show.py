"""One prompt by several methods: what the command line asks for, the images, the sheet, and the page."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hydra import initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from PIL import Image

from eval.errors import RunError
from eval.generation.calls import call_pipeline
from eval.generation.images import to_uint8
from scripts.command_line.entry import CONF
from scripts.command_line.prompting import translated
from scripts.show import FLAGS, check_seeds, main, method_names, rows, split
from scripts.show_page import gallery, open_page
from scripts.studies.sheets import generate_columns

SMALL = ["model=tiny_random", "sampler.steps=2"]


@pytest.fixture
def composing() -> Iterator[None]:
    """Hydra as it is inside a job."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


@pytest.mark.parametrize(
    "prompt",
    ["a goldfish", "a dog, a cat", "it's", "3", "a\\'b", "ends in \\", "a=b {c} [d] (e)", '"so" he said', "null"],
)
def test_a_prompt_needs_no_quoting_for_hydra(prompt: str) -> None:
    (argument,) = translated([f"prompt={prompt}"], FLAGS)
    assert OverridesParser.create().parse_override(argument).value() == prompt


def test_quoted_prompts_flags_and_other_arguments_are_left_as_they_are() -> None:
    given = ["prompt='a dog'", "method=[retom,tomesd]", "method.ratio=0.25", "--ui"]
    assert translated(given, FLAGS) == [*given[:3], "ui=true"]


def test_the_baseline_comes_first_and_once() -> None:
    assert split(["method=[retom,none,tomesd]", "seeds=[1]"], None) == (["none", "retom", "tomesd"], ["seeds=[1]"])
    assert split([], "retom") == (["none", "retom"], [])
    assert split(["method=none"], "none") == (["none"], [])


@pytest.mark.parametrize("seeds", [[], [1, 1], "1", [1.5], [-1], [2**32], [True]])
def test_bad_seeds_are_reported(seeds) -> None:
    with pytest.raises(ValueError, match="seeds must be"):
        check_seeds(seeds)


def test_an_option_goes_to_the_methods_that_have_it(composing) -> None:
    found = rows(["none", "retom", "todo"], [*SMALL, "method.ratio=0.25", "method.window.mid=4"])
    assert found[1].config["method"]["ratio"] == 0.25
    assert found[1].method.window == {"down": 2, "mid": 4, "up": 2}
    assert "window" not in found[2].config["method"]
    assert {row.sampler.steps for row in found} == {2}
    with pytest.raises(RunError, match="unknown method 'reotm', the nearest is retom; there are atc, "):
        rows(["reotm"], SMALL)


def test_every_method_generates_the_seeds_of_the_baseline(composing, session) -> None:
    chosen = rows(["none", "retom", "tomesd"], [*SMALL, "method.ratio=0.75"])
    columns = generate_columns(chosen, session, "a goldfish", [4, 5])
    none, retom, tomesd = columns
    row = chosen[0]
    pipe = session.pipeline(row.model, row.sampler)
    image = call_pipeline(pipe, ["a goldfish"], [5], row.sampler, output_type="np").images[0]
    assert np.array_equal(none.images[1], to_uint8(image)[0])
    assert none.captions[0] == "no merging"
    assert none.notes == ("", "")
    assert retom.captions[0] == "ratio 0.75, 75% of tokens merged"
    assert tomesd.captions[0].startswith("ratio 0.75, ")
    assert tomesd.captions[0] != retom.captions[0]  # it merges at the top level alone
    for column in (retom, tomesd):
        assert column.captions[1].endswith(" s")
        assert all(float(note.removeprefix("SSIM to baseline ")) <= 1 for note in column.notes)
        assert not any(map(np.array_equal, column.images, none.images))


def run(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["show", *arguments])
    return main()


def test_the_command_writes_a_sheet(monkeypatch, tmp_path: Path, capsys) -> None:
    status = run(
        monkeypatch, *SMALL, "prompt=A dog, it's $5", "method=[retom,tomesd]", "seeds=[7]", f"results={tmp_path}"
    )
    output = capsys.readouterr()
    assert status == 0, output.err
    (path,) = (tmp_path / "show").iterdir()
    assert path.name.startswith("a-dog-it-s-5-")
    assert str(path) in output.err
    assert [line.split("  ")[0] for line in output.out.splitlines()] == ["Baseline", "ReToM (Ours)", "ToMeSD"]
    with Image.open(path) as opened:
        assert opened.size[0] > 1000


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("method=reotm", "unknown method 'reotm', the nearest is retom"),
        ("method=[none,reotm]", "unknown method 'reotm', the nearest is retom"),
        ("method.ratoi=0.5", "unknown key 'method.ratoi', the nearest is method.ratio"),
        ("seeds=3", "seeds must be a list of different integers"),
        ("prompt=", "prompt must be a text, got ''"),
    ],
)
def test_a_mistake_is_one_line(argument, sentence, monkeypatch, capsys) -> None:
    assert run(monkeypatch, *SMALL, argument) == 1
    output = capsys.readouterr().err
    assert sentence in output
    assert "Traceback" not in output


def test_without_gradio_one_line_says_how_to_install_it(monkeypatch, capsys) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "gradio" else found(name, *more)
    )
    assert run(monkeypatch, *SMALL, "--ui") == 1
    output = capsys.readouterr().err
    assert output.startswith("error: the page needs gradio, which is not installed: python -m pip install -e '.[ui]'")
    assert len(output.splitlines()) == 1


def test_the_page_shows_an_image_and_a_caption_of_every_method(composing, session) -> None:
    def draw(methods, prompt, seeds):
        return generate_columns(rows(["none", *methods], SMALL), session, prompt, seeds)

    shown = gallery(draw, "a goldfish", ["retom"], 3.0)
    assert [caption.split(",")[0] for _, caption in shown] == ["Baseline", "ReToM (Ours)"]
    assert shown[1][0].shape == (64, 64, 3)
    with pytest.raises(ValueError, match="prompt must be a text"):
        gallery(draw, " ", ["retom"], 3.0)


def test_the_page_is_a_gradio_application(monkeypatch) -> None:
    gradio = pytest.importorskip("gradio", reason="the extra ui is not installed (gradio wants Pillow below 13)")
    opened = []
    monkeypatch.setattr(gradio.Blocks, "launch", lambda blocks, **options: opened.append((blocks, options)))
    open_page(lambda *asked: [], method_names(), ["none", "retom"], "a goldfish", 0)
    ((blocks, options),) = opened
    assert options["server_name"] == "127.0.0.1"
    assert "a goldfish" in str(blocks.get_config_file())

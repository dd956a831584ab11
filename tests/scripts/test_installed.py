"""docs/extending.md: its package is built, installed into a folder of its own, found, run, and removed again."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import retom
import scripts.run
import scripts.show
import scripts.tables
from eval.errors import RunError
from retom import extensions, families
from scripts.command_line import choices
from scripts.command_line.entry import CONF
from scripts.command_line.installed import extra_metrics, method_options
from tests.docs.blocks import ROOT, files
from tests.retom.families.test_register import dit
from tests.retom.families.test_register import run as run_dit
from tests.scripts.conftest import SMALLEST

PAGE = ROOT / "docs" / "extending.md"
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
SIZE = (*SMALLEST, "timing=off", "runs=own")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of the package that the page shows."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheels")
    for name, text in files(PAGE).items():
        if not name.startswith("conf/"):
            (source / name).parent.mkdir(exist_ok=True)
            (source / name).write_text(text, encoding="utf-8")
    subprocess.run([sys.executable, "-c", BUILD, str(target)], cwd=source, check=True, capture_output=True)
    (built,) = target.glob("my_methods-1.0-*.whl")
    return built


@pytest.fixture
def site(wheel: Path, tmp_path: Path, monkeypatch) -> Iterator[Path]:
    """A folder on Python's path into which the wheel is installed."""
    folder = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    monkeypatch.syspath_prepend(folder)
    yield folder
    forget()


def forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_methods"]:
        del sys.modules[name]


def declare(site: Path, name: str, *lines: str) -> None:
    """Another installed package."""
    info = site / f"{name}-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("\n".join(lines))


def record(results: Path, method: str) -> dict:
    (path,) = results.glob(f"runs/own/{method}-*/record.json")
    return json.loads(path.read_text())


def test_a_package_is_found_run_and_removed(site, tmp_path, command, monkeypatch, capsys):
    assert "pairs" in choices.choices(CONF, "method")
    assert command(scripts.run, "method=pairs", "method.ratio=0.5", "metrics.extra=[sharpness]", *SIZE) == 0
    found = record(tmp_path, "pairs")
    assert found["config"]["method"] == {"_target_": "my_methods.pairs.Pairs", "ratio": 0.5}
    assert found["config"]["metrics"]["extra"] == {
        "sharpness": {"_target_": "my_methods.sharpness.Sharpness", "step": 1}
    }
    assert found["metrics"]["sharpness"]["value"] > 0
    assert found["provenance"]["packages"]["my-methods"] == {"version": "1.0"}
    assert found["protocol"]["metrics"]["networks"]["sharpness"].endswith("in percent; my-methods 1.0")
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(site)])
    forget()
    capsys.readouterr()
    assert command(scripts.run, "method=pairs", *SIZE) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: unknown method 'pairs'")
    assert "retom_fixed_2" in line


def test_its_family_is_served_until_it_is_removed(site, monkeypatch):
    monkeypatch.setattr(families, "_registered", [])
    families._installed.cache_clear()
    model = dit()
    with retom.patched(model, ratio=0.5, window=2) as sites:
        run_dit(model)
        assert [place["merged"] for place in retom.report(model)] == [8] * sites
    assert sites == 3
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(site)])
    families._installed.cache_clear()
    with pytest.raises(ValueError, match="DiTTransformer2DModel has no site where tokens can be merged"):
        retom.apply_patch(model)


def test_a_metric_scores_finished_runs_again_and_gets_a_column(site, tmp_path, command, capsys):
    size = (*SIZE, "experiment=table1", "prompts.classes=10")
    assert command(scripts.run, "method=none", *size) == 0
    plain = record(tmp_path, "none")
    assert "extra" not in plain["config"]["metrics"]
    assert [*plain["protocol"]["metrics"]["networks"]] == ["fid_smoke", "kid_smoke", "clip_smoke"]
    both = ("--multirun", "method=none,pairs", *size, "metrics.extra={sharpness:{step:2}}")
    assert command(scripts.run, *both) == 0
    assert "rescored" in capsys.readouterr().err
    again = record(tmp_path, "none")
    assert again["provenance"] == plain["provenance"]  # nothing was generated again
    assert {**again["metrics"], "sharpness": None} == {**plain["metrics"], "sharpness": None}
    entry = record(tmp_path, "pairs")["metrics"]["sharpness"]
    low, high = entry["interval"]
    assert low < entry["value"] < high
    assert entry["better"] == "higher"
    assert entry["differences"]["none"]["interval"] is not None
    command(scripts.tables, "method=none,pairs", *size)
    header = (tmp_path / "smoke" / "table1.csv").read_text().splitlines()[0].split(",")
    assert header.index("sharpness") == header.index("s_per_im") + 1
    assert {"sharpness_low", "sharpness_minus_none", "sharpness_minus_none_high"} <= set(header)
    assert "paper_sharpness" not in header
    assert "| sharpness ↑ |" in (tmp_path / "smoke" / "table1.md").read_text()


def test_a_broken_package_is_named_and_the_others_go_on(site, command, capsys):
    declare(site, "broken", "[retom.methods]", "absent = not_there.x:Y", "text = my_methods.pairs:__name__")
    declare(site, "namesake", "[retom.methods]", "retom = my_methods.pairs:Pairs")
    assert {"absent", "text", "pairs", "retom"} <= set(choices.choices(CONF, "method"))
    assert command(scripts.run, "method=pairs", *SIZE) == 0
    said = capsys.readouterr().err
    assert "retom.methods 'retom' of the package namesake (my_methods.pairs:Pairs) is not used" in said
    assert "broken" not in said
    for name, why in (("absent", "cannot be imported (ModuleNotFoundError"), ("text", "is not a dataclass")):
        assert command(scripts.run, f"method={name}", *SIZE) == 1
        *_, line = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: retom.methods '{name}' of the package broken")
        assert why in line
        assert "fix or uninstall the package broken" in line


def test_a_broken_method_ends_a_sweep_before_its_first_run(site, tmp_path, command, capsys):
    declare(site, "broken", "[retom.methods]", "absent = not_there.x:Y")
    for flags in (["--multirun"], ["--dry-run", "--multirun"]):
        assert command(scripts.run, *flags, "method=none,absent", *SIZE) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: retom.methods 'absent' of the package broken (not_there.x:Y) cannot be imported")
    assert not list(tmp_path.glob("runs/*/none-*"))


def test_one_prompt_is_shown_by_an_installed_method(site, tmp_path, command, capsys):
    choices = ("model=tiny_random", "sampler.steps=1", "seeds=[0]", "method=[pairs]")
    assert command(scripts.show, *choices) == 0
    assert "pairs                   ratio 0.25, 25% of tokens merged" in capsys.readouterr().out
    assert len(list(tmp_path.glob("show/*.png"))) == 1


def test_what_is_no_method_or_metric_is_refused(site):
    declare(
        site,
        "other",
        "[retom.methods]",
        "metric = my_methods.sharpness:Sharpness",
        "face = retom:TokenMerger",
        "[retom.metrics]",
        "pairs = my_methods.pairs:Pairs",
    )
    with pytest.raises(extensions.ExtensionError, match=r"'metric' .* is no retom\.method\.TokenMerger or baselines"):
        method_options("metric")
    with pytest.raises(extensions.ExtensionError, match=r"'face' .* is not a dataclass"):
        method_options("face")
    with pytest.raises(extensions.ExtensionError, match=r"'pairs' .* is no eval\.metrics\.measures\.Metric"):
        extra_metrics(["pairs"])
    with pytest.raises(RunError, match=r"unknown metric 'sharpnes' in metrics\.extra, the nearest is sharpness"):
        extra_metrics(["sharpnes"])
    with pytest.raises(RunError, match=r"unknown key metrics.extra.sharpness.stp, the nearest is step"):
        extra_metrics({"sharpness": {"stp": 1}})
    with pytest.raises(RunError, match=r"metrics\.extra must be names of installed metrics"):
        extra_metrics(3)


def test_two_packages_with_one_name_are_both_named(site):
    declare(site, "twin", "[retom.methods]", "pairs = my_methods.pairs:Pairs")
    with pytest.raises(extensions.ExtensionError, match=r"package my-methods .* package twin .* uninstall one of them"):
        method_options("pairs")


def test_the_groups_are_those_of_the_library():
    assert choices.GROUPS == extensions.GROUPS
    assert (choices.METHODS, choices.METRICS) == (extensions.METHODS, extensions.METRICS)


def test_names_are_listed_without_an_import(site):
    assert "pairs" in entry_points(group="retom.methods").names
    code = (
        "from pathlib import Path; import sys; from scripts.command_line.choices import choices; "
        "from scripts.command_line.help import page; found = choices(Path('conf'), 'method'); "
        "shown = page(Path('scripts/run.py'), Path('conf'), 'config'); "
        "print('pairs' in found, ' pairs,' in shown, 'torch' in sys.modules, 'my_methods' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(site)}, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "True", "False", "False"]

"""Configurations are input: what they name is refused before anything is imported, unless the user trusts it."""

import dataclasses
import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

import retom
import scripts.run
from eval.errors import RunError
from eval.metrics.features import CLEAN_INCEPTION
from scripts.command_line.trust import check_targets, named_on_command_line
from scripts.jobs.row import build
from tests.scripts.conftest import SMALLEST

METHOD = """
from dataclasses import dataclass
from pathlib import Path
import retom

Path(__file__).with_name("was_imported").touch()

@dataclass(frozen=True)
class Mine(retom.ReToM):
    pass

def act(*_, **__):
    Path(__file__).with_name("was_called").touch()
"""

FILES = {  # of a stranger: by the sentence that refuses them
    "method/named.yaml": ("not of retom, baselines, eval", "_target_: stranger.Mine\nratio: 0.5"),
    "method/nested.yaml": (
        "method.start._target_ names stranger.Mine",
        "_target_: baselines.dynamic.Dynamic\nstart: {_target_: stranger.Mine, ratio: 0.5}",
    ),
    "experiment/trusting.yaml": ("can only be set on the command line", "# @package _global_\ntrusted: [stranger]"),
    "experiment/sweeping.yaml": (
        "can only be set on the command line",
        "# @package _global_\nhydra: {sweeper: {params: {trusted: '[stranger]'}}}",
    ),
    "experiment/calling.yaml": (
        "hydra.callbacks.x._target_ names stranger.act",
        "# @package _global_\nhydra: {callbacks: {x: {_target_: stranger.act}}}",
    ),
    "experiment/logging.yaml": (
        "hydra.job_logging.formatters.simple.() is 'stranger.act'",
        "# @package _global_\nhydra: {job_logging: {formatters: {simple: {(): stranger.act}}}}",
    ),
    "experiment/streaming.yaml": (
        "hydra.job_logging.handlers.console.stream is 'ext://stranger.act'",
        "# @package _global_\nhydra: {job_logging: {handlers: {console: {stream: 'ext://stranger.act'}}}}",
    ),
    "experiment/writing.yaml": (
        "hydra.job_logging.handlers.console.filename",
        "# @package _global_\nhydra: {job_logging: {handlers: {console: {class: logging.FileHandler, filename: x}}}}",
    ),
}


@dataclasses.dataclass(frozen=True)
class Borrowed:
    """A class of another package under a name of ours."""


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch) -> Path:
    """A package that leaves a mark when it is imported, and another when it is called."""
    (tmp_path / "stranger").mkdir()
    (tmp_path / "stranger" / "__init__.py").write_text(METHOD)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "stranger"
    sys.modules.pop("stranger", None)


@pytest.fixture
def run(tmp_path: Path, monkeypatch, capsys):
    """A function from arguments to exit status and output; the stranger's files are next to the project's."""

    def call(*arguments: str) -> tuple[int, str]:
        search = f"hydra.searchpath=[file://{tmp_path}/conf]"
        (tmp_path / "conf").mkdir(exist_ok=True)
        argv = ["run", *SMALLEST, "timing=off", f"results={tmp_path}/results", search, *arguments]
        monkeypatch.setattr(sys, "argv", argv)
        GlobalHydra.instance().clear()
        try:
            return scripts.run.main(), capsys.readouterr().err
        finally:
            GlobalHydra.instance().clear()

    return call


@pytest.mark.parametrize("name", FILES)
def test_a_strangers_file_runs_nothing(name: str, stranger: Path, run, tmp_path: Path) -> None:
    sentence, text = FILES[name]
    path = tmp_path / "conf" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    multirun = ["--multirun"] if path.stem == "sweeping" else []
    status, output = run(f"{path.parent.name}={path.stem}", *multirun)
    assert status == 1
    assert sentence in output
    assert "Traceback" not in output
    assert [entry.name for entry in stranger.iterdir()] == ["__init__.py"]
    assert not list((tmp_path / "results").rglob("*.png"))


def test_a_package_is_trusted_by_name(stranger: Path, run, tmp_path: Path) -> None:
    (tmp_path / "conf" / "method").mkdir(parents=True, exist_ok=True)
    (tmp_path / "conf" / "method" / "mine.yaml").write_text("_target_: stranger.Mine\nratio: 0.5")
    status, output = run("method=mine", "trusted=[strange]")
    assert status == 1
    assert "trusted=[stranger]" in output
    status, output = run("method=mine", "trusted=[stranger]")
    assert status == 0, output
    assert (stranger / "was_imported").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"_target_": "os.system", "command": "true"}, "method._target_ names os.system"),
        ({"_target_": "eval.provenance.subprocess.Popen"}, "which does not exist"),
        ({"_target_": "eval.downloads.fetching.FileLock"}, "not a dataclass"),
        ({"_target_": "eval.provenance.collect"}, "not a dataclass"),
        ({"_target_": "retom.Nothing"}, "which does not exist"),
        ({"_target_": "retom"}, "must name a class as package.module.Class"),
        ({"_target_": "..os.system"}, "must name a class as package.module.Class"),
        ({"_target_": 3}, "must name a class as package.module.Class"),
        ({"_target_": "retom.ReToM", "window": [{"_target_": "os.system"}]}, r"method.window\[0\]._target_ names"),
        ({"_target_": "retom.ReToM", "_partial_": True}, "method._partial_ is not allowed"),
        ({"_target_": "retom.ReToM", "window": {"_args_": [2]}}, "method.window._args_ is not allowed"),
    ],
)
def test_a_target_is_a_dataclass_of_an_allowed_package(options: dict, sentence: str) -> None:
    with pytest.raises(RunError, match=sentence):
        build("method", options)


def test_a_class_that_a_module_only_borrows_is_not_its_own(monkeypatch) -> None:
    monkeypatch.setattr(retom, "Borrowed", Borrowed, raising=False)
    with pytest.raises(RunError, match=r"_target_ names .*test_trust\.Borrowed, which is not of"):
        check_targets("method", {"_target_": "retom.Borrowed"})


@pytest.mark.parametrize(
    "value", ["${oc.env:HOME} {class}", "${${runs}.env:HOME} {class}", "${oc.decode:'${oc.env:HOME}'} {class}"]
)
def test_no_value_reads_the_environment(run, value: str, tmp_path: Path) -> None:
    status, output = run(f"prompts.template='{value}'", "runs=oc")
    assert status == 1
    assert "not call a resolver" in output or "cannot read the override" in output
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("argument", ["trusted=[a.b]", "trusted=3", "trusted=[", "+trusted=[a,[b]]"])
def test_what_is_trusted_is_a_list_of_packages(argument: str) -> None:
    with pytest.raises(RunError, match="must be a list of top-level packages"):
        named_on_command_line(["method=retom", argument])
    assert named_on_command_line(["method=retom", "trusted=[a,b]", "++trusted=c"]) == ("a", "b", "c")


def test_the_one_network_that_is_code_is_the_published_one() -> None:
    kind = "eval.downloads.weights.WeightFile"
    other = {"_target_": kind, "name": "x.pt", "url": "http://x", "sha256": "0" * 64}
    real = {"_target_": "eval.metrics.profiles.RealMetrics"}
    with pytest.raises(ValueError, match="inception must be the published file"):
        build("metrics", real | {"inception": other})
    build("metrics", real | {"inception": other | {"sha256": CLEAN_INCEPTION.sha256}})

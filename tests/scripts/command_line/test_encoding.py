"""A locale without UTF-8, an argument or a configuration that is not UTF-8: one line that says what to do."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import scripts.command_line.entry
import scripts.run
from eval.errors import RunError
from scripts.command_line.encoding import check_encoding, undecodable
from scripts.command_line.entry import ROOT
from tests.scripts.conftest import SMALLEST

PLAIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
COMMANDS = sorted(path.stem for path in (ROOT / "scripts").glob("*.py") if path.stem not in ("__init__", "show_page"))


def python(*arguments: str | bytes, **environment: str) -> subprocess.CompletedProcess:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    options = {"capture_output": True, "cwd": ROOT, "env": {**kept, **environment}, "check": False}
    return subprocess.run([sys.executable, *arguments], **options)


def test_a_command_in_a_locale_without_utf8_says_what_to_do(tmp_path: Path) -> None:
    template = "prompts.template='Ein Foto für {class}'".encode()
    arguments = ["model=tiny_random", "metrics=none", "timing=off", "reference=synthetic", f"results={tmp_path}"]
    done = python("-m", "scripts.run", *arguments, template, **PLAIN)
    assert done.returncode == 1
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("error: text is encoded as ")
    assert line.endswith("set LC_ALL=C.UTF-8 or PYTHONUTF8=1")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("environment", "fine"),
    [
        (PLAIN, False),
        ({"PYTHONIOENCODING": "latin-1"}, False),
        ({"LC_ALL": "C"}, True),  # Python takes UTF-8 there by itself
        ({"LC_ALL": "C.UTF-8"}, True),
        ({**PLAIN, "PYTHONUTF8": "1"}, True),
        ({}, True),
    ],
)
def test_what_the_line_says_to_set_is_enough(environment: dict[str, str], fine: bool) -> None:
    done = python(
        "-c", "from scripts.command_line.encoding import check_encoding; check_encoding([chr(252)])", **environment
    )
    assert (done.returncode == 0) == fine
    assert ("RunError" in done.stderr.decode()) == (not fine)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_checks(name: str, command, monkeypatch, capsys) -> None:
    def refused(_: list[str]) -> None:
        raise RunError("text is encoded as ascii here")

    monkeypatch.setattr(scripts.command_line.entry, "check_encoding", refused)
    assert command(importlib.import_module(f"scripts.{name}")) == 1
    assert "error: text is encoded as ascii here" in capsys.readouterr().err


def test_an_argument_that_is_not_utf8_is_named() -> None:
    argument = os.fsdecode(b"prompts.template=f\xfcr {class}")
    with pytest.raises(RunError, match=r"'prompts.template=f\\udcfcr \{class\}' is not UTF-8 at character 19"):
        check_encoding([argument])
    check_encoding(["prompts.template=für 日本"])


def test_a_configuration_that_is_not_utf8_is_named(command, monkeypatch, tmp_path: Path, capsys) -> None:
    import shutil

    conf = tmp_path / "conf"
    shutil.copytree(scripts.command_line.entry.CONF, conf)
    (conf / "experiment" / "mine.yaml").write_bytes("# @package _global_\nruns: single # für\n".encode("latin-1"))
    monkeypatch.setattr(scripts.command_line.entry, "CONF", conf)
    assert command(scripts.run, *SMALLEST, "experiment=mine", results=tmp_path / "results") == 1
    output = capsys.readouterr().err
    assert f"error: {conf / 'experiment' / 'mine.yaml'} is not UTF-8 (byte 36: 0xfc); save it as UTF-8" in output
    assert "Traceback" not in output
    (conf / "experiment" / "mine.yaml").unlink()
    with pytest.raises(UnicodeDecodeError) as caught:
        b"\xfc".decode()
    assert undecodable(conf, caught.value).startswith("a configuration file is not UTF-8 (")


def test_records_and_manifests_are_utf8_in_any_locale(tmp_path: Path) -> None:
    """The files themselves name their encoding, also for who uses eval/ without a command."""
    code = (
        "from eval.atomic import write_json, write_text; import sys, pathlib\n"
        "folder = pathlib.Path(sys.argv[1]); text = chr(0xfc) + chr(0x65e5)\n"
        "write_json(folder / 'a.json', {'text': text}); write_text(folder / 'b.txt', text)"
    )
    done = python("-c", code, str(tmp_path), **PLAIN)
    assert done.returncode == 0, done.stderr
    assert "ü日" in (tmp_path / "a.json").read_text(encoding="utf-8")
    assert (tmp_path / "b.txt").read_text(encoding="utf-8") == "ü日"

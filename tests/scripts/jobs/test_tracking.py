"""A tracker on the command line gets every row, and never ends one."""

from pathlib import Path

import pytest

import scripts.run
from tests.scripts.conftest import SMALLEST


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorBoard's generated protobuf code
def test_rows_are_reported_and_a_tracker_that_cannot_write_fails_none(command, tmp_path: Path, capsys) -> None:
    pytest.importorskip("tensorboard")
    choices = [*SMALLEST, "timing=off", "method=none", "tracker=tensorboard"]
    assert command(scripts.run, *choices) == 0
    assert len(list((tmp_path / "tensorboard" / "single").glob("none-*/events.out.tfevents.*"))) > 0
    assert command(scripts.run, *choices, "tracker.folder=/proc/nowhere") == 0
    output = capsys.readouterr()
    assert "tracker TensorBoard did not receive this run: FileNotFoundError" in output.out + output.err
    assert "already finished" in output.err

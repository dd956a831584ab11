"""What a long run says of itself: the row, the stage, the time left; a line a minute, and nothing without a minute."""

import io
import logging
import pickle
import sys
import threading
import time
from pathlib import Path

import pytest

from eval.generation.generate import generate
from eval.progress import Progress, span
from tests.eval.generation.test_generate import ITEMS, sampler


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_line_names_row_stage_and_images(clock: Clock) -> None:
    progress = Progress(clock=clock)
    assert progress.line() is None
    with progress.row(3, 8, "table1/retom-0123"):
        assert progress.line() is None
        with progress.stage("generating", 2000, 400) as stage:
            assert progress.line() == "row 3 of 8, table1/retom-0123, generating: 400 of 2000 images"
            clock.now = 100
            stage.update(100)
            # 1 s an image: 1,500 s of this row; five rows more of the 1,600 s that this one would take
            assert progress.line() == (
                "row 3 of 8, table1/retom-0123, generating: 500 of 2000 images, about 2.6 h left in all rows"
            )
        assert progress.line() is None


def test_rows_that_had_work_to_do_give_the_pace_of_those_to_come(clock: Clock) -> None:
    progress = Progress(clock=clock)
    with progress.row(1, 4, "done before"):
        clock.now += 1  # nothing to do: it says nothing of the others
    with progress.row(2, 4, "b"):
        with progress.stage("generating", 10) as stage:
            clock.now += 500
            stage.update(10)
        clock.now += 500  # scoring and what else belongs to a row
    with progress.row(3, 4, "c"), progress.stage("generating", 10) as stage:
        clock.now += 100
        stage.update(5)
        assert progress.left() == "about 18 min left in all rows"  # 100 s and the 1,000 s of row 2


@pytest.mark.parametrize(
    ("rows", "alone", "line"),
    [
        (1, False, "a, timing: 1 of 2 calls, about 5 s left"),
        (None, False, "row 2, a, timing: 1 of 2 calls, about 5 s left"),
        (9, True, "row 2 of 9, a, timing: 1 of 2 calls, about 5 s left"),
    ],
)
def test_the_time_left_is_of_what_this_process_does(rows: int | None, alone: bool, line: str, clock: Clock) -> None:
    progress = Progress(clock=clock)
    with progress.row(1 if rows == 1 else 2, rows, "a", alone=alone), progress.stage("timing", 2, unit="call") as stage:
        clock.now = 5
        stage.update()
        assert progress.line() == line


def test_a_stage_names_its_network(clock: Clock) -> None:
    progress = Progress(clock=clock)
    with progress.row(1, 1, ""), progress.stage("scoring", 4) as stage:
        stage.describe("scoring features, inception")
        assert progress.line() == "scoring features, inception: 0 of 4 images"


def spoken(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "eval.progress"]


def test_a_line_comes_each_time_the_minute_is_over(caplog) -> None:
    progress = Progress(every=0.05)
    with caplog.at_level(logging.INFO), progress.row(1, 2, "a"):
        time.sleep(0.12)
        assert spoken(caplog) == []  # there is nothing to tell yet
        with progress.stage("generating", 3) as stage:
            stage.update()
            time.sleep(0.3)
    said = spoken(caplog)
    assert 2 <= len(said) <= 6
    assert all(line.startswith("row 1 of 2, a, generating: 1 of 3 images, about ") for line in said)
    time.sleep(0.12)
    assert spoken(caplog) == said  # the row is over
    assert not [thread for thread in threading.enumerate() if thread.name.endswith("(_speak)")]


@pytest.mark.parametrize("progress", [Progress(enabled=False, every=0.02), Progress()])
def test_other_processes_and_short_runs_say_nothing(progress: Progress, caplog, capfd) -> None:
    with caplog.at_level(logging.INFO), progress.row(1, 1, "a"), progress.stage("generating", 3) as stage:
        stage.update()
        time.sleep(0.1)
    assert spoken(caplog) == []
    assert capfd.readouterr() == ("", "")


def test_on_a_terminal_there_is_a_bar_and_no_line(monkeypatch, caplog) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    progress = Progress(every=0.02)
    with caplog.at_level(logging.INFO), progress.row(3, 8, "retom"), progress.stage("generating", 4) as stage:
        for _ in range(4):
            time.sleep(0.05)
            stage.update()
    assert "row 3 of 8, retom, generating:" in screen.getvalue()
    assert "left in all rows" in screen.getvalue()
    assert spoken(caplog) == []


def test_an_error_ends_row_and_stage(clock: Clock) -> None:
    progress = Progress(clock=clock)
    with pytest.raises(KeyError), progress.row(1, 2, "a"), progress.stage("generating", 1):
        raise KeyError
    assert progress.line() is None
    with progress.row(2, 2, "b"):
        pass


def test_threads_count_every_unit(clock: Clock) -> None:
    with Progress(clock=clock).stage("generating", 4000) as stage:
        threads = [threading.Thread(target=lambda: [stage.update() for _ in range(1000)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert stage.count() == "4000 of 4000 images"


def test_generating_counts_what_is_there_and_what_is_written(tiny_original, tmp_path: Path) -> None:
    counts = []

    class Watched(Progress):
        def stage(self, what, total, done=0, unit="image"):
            counts.append((what, total, done))
            return super().stage(what, total, done, unit)

    generate(tiny_original, ITEMS[:2], tmp_path, sampler(), progress=Watched())
    generate(tiny_original, ITEMS, tmp_path, sampler(), progress=Watched())
    assert counts == [("generating", 2, 0), ("generating", len(ITEMS), 2)]


def test_it_crosses_to_another_process() -> None:
    assert pickle.loads(pickle.dumps(Progress())).line() is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(4, "4 s"), (89, "89 s"), (90, "2 min"), (5000, "83 min"), (9000, "2.5 h"), (2e5, "2.3 days")],
)
def test_a_span_has_the_unit_of_a_reader(seconds: float, words: str) -> None:
    assert span(seconds) == words

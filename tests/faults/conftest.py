"""The undisturbed run that every fault is measured against, and the count of what was tried."""

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.workshop import IMAGES, RUN, TABLES, Done, Server, images, records, tables, temporary


@dataclasses.dataclass(frozen=True)
class Whole:
    """An undisturbed run with its table: what it holds, and how long each command took."""

    folder: Path
    images: dict
    records: dict
    tables: dict
    seconds: dict[str, float]


class Trial:
    """One fault: `kind` names its line in docs/reliability.md. What is not recovered from counts as lost."""

    def __init__(self, server: Server, whole: Whole, kind: str, detail: str):
        self.server, self.whole, self.kind, self.detail = server, whole, kind, detail
        self.seconds: float | None = None

    def recover(self, folder: Path, *, says: str | None = None) -> Done:
        """Give the same commands again: they finish, say what happened, and all is as in the undisturbed run."""
        done = self.server.run("scripts.run", *RUN, folder=folder)
        assert done.status == 0, done.printed
        built = self.server.run("scripts.tables", *TABLES, folder=folder)
        assert built.status == 0, built.printed
        assert says is None or says in done.printed + built.printed, done.printed + built.printed
        assert "Traceback" not in done.printed + built.printed
        self.same(folder / "results")
        self.seconds = done.seconds + built.seconds
        return done

    def same(self, results: Path) -> None:
        """Images by bytes, records and tables by value, and nothing half-written left."""
        assert images(results) == self.whole.images
        assert records(results) == self.whole.records
        assert tables(results) == self.whole.tables
        assert temporary(results) == []


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[Server]:
    """The fork server, one for each process of the tests."""
    with Server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="session")
def whole(server: Server, tmp_path_factory) -> Whole:
    """The undisturbed run, made twice: the first time teaches the server what to import, and both must agree."""
    learnt = tmp_path_factory.mktemp("learnt")
    seconds = {}
    for folder in (learnt, learnt / "again"):
        folder.mkdir(exist_ok=True)
        for module, arguments in (("scripts.run", RUN), ("scripts.tables", TABLES)):
            names = folder / f"{module}.json"
            done = server.run(module, *arguments, folder=folder, learn=str(names))
            assert done.status == 0, done.printed
            server.preload(names)
            seconds[module] = done.seconds
    first, second = ((images(f / "results"), records(f / "results"), tables(f / "results")) for f in (learnt, folder))
    assert first == second
    assert len(first[0]) == IMAGES
    return Whole(folder, *first, seconds)


@pytest.fixture
def trial(server: Server, whole: Whole) -> Callable[..., contextlib.AbstractContextManager[Trial]]:
    """A function from kind and detail to a trial for a `with` block, counted as lost when the block raises."""

    @contextlib.contextmanager
    def begin(kind: str, detail: str = "") -> Iterator[Trial]:
        one = Trial(server, whole, kind, detail)
        survived = False
        try:
            yield one
            survived = True
        finally:
            _note({"kind": kind, "detail": one.detail, "survived": survived, "seconds": one.seconds, "at": time.time()})

    return begin


def _note(entry: dict) -> None:
    """Add a line to the file that FAULT_FIGURES names; `make faults` sums it up in docs/reliability.md."""
    path = os.environ.get("FAULT_FIGURES")
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

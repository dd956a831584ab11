"""One run in parts: which images a part draws, what its lock keeps out, and what the closing job says is missing."""

from pathlib import Path

import pytest

from eval.errors import RunError
from eval.generation.prompts import PromptSet
from eval.generation.shards import Shard
from eval.records.run_folder import RunFolder

ITEMS = PromptSet("A {class}.", images_per_class=2, classes=5).items()


@pytest.mark.parametrize("batch_size", [1, 3, 4])
def test_the_parts_make_the_batches_of_one_process(batch_size: int) -> None:
    whole = [ITEMS[start : start + batch_size] for start in range(0, len(ITEMS), batch_size)]
    parts = []
    for index in range(4):
        mine = Shard(4, index).items(ITEMS, batch_size)
        parts += [mine[start : start + batch_size] for start in range(0, len(mine), batch_size)]
    assert sorted(parts, key=lambda part: part[0].key) == whole


def test_a_run_that_is_not_cut_draws_all_and_the_closing_job_nothing() -> None:
    assert Shard().items(ITEMS, 4) == ITEMS
    assert Shard(1, 0).items(ITEMS, 4) == ITEMS
    assert Shard(4, "close").items(ITEMS, 4) == []
    assert [(Shard(*cut).is_part, Shard(*cut).closes) for cut in ((1, None), (1, 0), (4, 0), (4, "close"))] == [
        (False, False),
        (False, False),
        (True, False),
        (False, True),
    ]


@pytest.mark.parametrize(("count", "index"), [(0, None), (True, None), (2.0, 0), (4, None), (4, 4), (4, -1), (4, "1")])
def test_a_part_that_cannot_be_is_refused(count: object, index: object) -> None:
    with pytest.raises(ValueError, match=r"shard\.(count|index) must be "):
        Shard(count, index)


def test_what_is_missing_is_reported_by_the_part_that_must_be_rerun() -> None:
    gone = {item.file for item in (*Shard(4, 1).items(ITEMS, 2), Shard(4, 3).items(ITEMS, 2)[-1])}
    with pytest.raises(RunError) as caught:
        Shard(4, "close").require(ITEMS, gone, 2, "a/b-c")
    first = Shard(4, 1).items(ITEMS, 2)[0].file
    assert f"3 of its 10 images are missing: shard 1 misses 2 (first: {first}); shard 3 misses 1" in str(caught.value)
    assert "run it again with shard.count=4 shard.index=1,3, then with shard.index=close" in str(caught.value)
    with pytest.raises(RunError, match=r"shard 0 misses 3 .* run it again without shard.index"):
        Shard(1, "close").require(ITEMS, gone, 2, "a/b-c")
    Shard(4, "close").require(ITEMS, [], 2, "a/b-c")


def test_parts_of_a_folder_are_held_side_by_side_and_each_once(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "table1", "retom", "0" * 12)
    with folder.lock_shard("0-of-2"), folder.lock_shard("1-of-2"), folder.lock_start():
        with (
            pytest.raises(RunError, match=r"Shard 1-of-2 of run folder .* is being written"),
            folder.lock_shard("1-of-2"),
        ):
            pass
        with pytest.raises(RunError, match=r"^Run folder .* is being written"), folder.lock():
            pass
    with folder.lock(), pytest.raises(RunError, match=r"^Run folder .* is being written"), folder.lock_shard("0-of-2"):
        pass

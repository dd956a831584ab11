"""Which steps are due: a table of what an earlier start left, and of what is asked for now."""

import dataclasses
from pathlib import Path

import pytest

from eval.generation.shards import CLOSE, Shard
from eval.metrics.stats import Bootstrap
from eval.records import protocol_hash
from eval.run.due import Before, Due, due
from eval.run.row import Row
from eval.speed.timing import TimingConfig

HERE = {"device_name": "this device", "metrics": "these"}
WHOLE = Shard()
NOTHING, ALL = Due(), Due(generate=True, time=True, score=True)
GENERATE, TIME, SCORE = Due(generate=True), Due(time=True), Due(score=True)
NONE = {"method": "none", "experiment": "single", "pixel_hash": "0" * 12, "images": {"sha256": "n"}}
AGAINST = {"against": {"none": f"single/none-{'0' * 12}"}, "against_pictures": {"none": "n"}}


def row(shard: Shard = WHOLE, **timing: object) -> Row:
    """A row of which only what is asked for is given."""
    config = {"timing": {"images": 20} | timing, "bootstrap": {"replicates": 4}}
    objects = dict.fromkeys(("model", "sampler", "method", "prompts", "reference", "metrics"))
    timed = TimingConfig(**timing)
    return Row("retom", "single", Path("results"), config, **objects, timing=timed, bootstrap=Bootstrap(), shard=shard)


def left(protocol: dict = HERE, **changed: object) -> Before:
    """A finished run, scored and timed as `row()` asks for, with other fields in its record."""
    record = {
        "status": "ok",
        "config": row().config,
        "protocol": protocol,
        "protocol_hash": protocol_hash(protocol),
        "timing": {"quiet": True},
        "images": {"sha256": "i"},
        "against": {},
        "against_pictures": {},
    }
    return Before(record | changed, begun=True, images="i")


def but(**changed: object) -> Before:
    return dataclasses.replace(left(), **changed)


@pytest.mark.parametrize(
    ("asked", "before", "steps"),
    [
        (row(), Before(), ALL),
        (row(), Before(begun=True), ALL),
        (row(enabled=False), Before(), Due(generate=True, score=True)),
        (row(Shard(2, CLOSE)), Before(begun=True), ALL),
        (row(Shard(2, 1)), Before(), GENERATE),
        (row(Shard(2, 1)), but(images=None), NOTHING),
        (row(Shard(2, 1)), but(images=None, damaged=True), GENERATE),
        (row(), left(), NOTHING),
        (row(), left(status="invalid"), NOTHING),
        (row(Shard(2, CLOSE)), left(), NOTHING),
        (row(), but(images=None, damaged=True), Due(generate=True, score=True)),
        (row(), but(images="other images"), SCORE),
        (row(), left(images={}), SCORE),
        (row(), left(HERE | {"metrics": "others"}), SCORE),
        (row(), left(config=row().config | {"bootstrap": {"replicates": 5}}), SCORE),
        (row(), but(against={"none": NONE}), SCORE),
        (row(), dataclasses.replace(left(**AGAINST), against={"none": NONE}), NOTHING),
        (row(), dataclasses.replace(left(**AGAINST), against={"none": NONE | {"images": {"sha256": "m"}}}), SCORE),
        (row(), left(**AGAINST), SCORE),
        (row(), left(timing=None), TIME),
        (row(enabled=False), left(timing=None), NOTHING),
        (row(images=10), left(), TIME),
        (row(wait=60), left(), NOTHING),
        (row(again=True), left(), NOTHING),
        (row(again=True), left(timing={"quiet": False}), TIME),
        (row(), left(timing={"quiet": False}), NOTHING),
        (row(), left(HERE | {"device_name": "another"}), Due(time=True, score=True)),
        (row(enabled=False), left(HERE | {"device_name": "another"}), SCORE),
        (row(images=10), but(images=None, damaged=True), ALL),
    ],
)
def test_what_is_due(asked: Row, before: Before, steps: Due) -> None:
    assert due(asked, HERE, before) == steps


def test_a_timing_is_kept_on_its_own_device_alone(caplog) -> None:
    assert left().timing(HERE) == {"quiet": True}
    assert Before().timing(HERE) is None
    assert left().timing(HERE | {"device_name": "another"}) is None
    assert "The timing is from this device and this is another: it is dropped" in caplog.text

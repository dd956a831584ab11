"""The published schema of records and eval/records/schema.py accept and refuse the same."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from eval.records import RECORD_VERSION, validate_record
from eval.submissions.documents import KINDS, SCHEMAS, VERSION, first_fault
from tests.eval.sample_records import make_record

ROOT = Path(__file__).parents[3]
RECORDS = sorted((ROOT / "submissions").glob("*/*/*/record.json"))
OTHER = (None, True, "text", 7, 0.5, [], {}, [None], [1, "a"])
# What no JSON Schema can say: hashes over the contents, and words that a hash or a count decides.
MEANT = ("hashes to", "images are invalid", "must be [low, high]", "a number that cannot be had")


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """The path of every value inside, of lists their first two."""
    inner = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*path, key)
        yield from places(item, (*path, key))


def changed(record: dict, path: tuple, *value: Any) -> dict:
    """A copy with another value at `path`, or without it."""
    found = copy.deepcopy(record)
    inside = found
    for key in path[:-1]:
        inside = inside[key]
    if value:
        inside[path[-1]] = value[0]
    else:
        del inside[path[-1]]
    return found


def refusal(record: dict) -> str | None:
    try:
        validate_record(record)
    except ValueError as error:
        return str(error)
    return None


@pytest.mark.parametrize("kind", KINDS)
def test_a_published_schema_is_one(kind: str) -> None:
    schema = json.loads((SCHEMAS / f"{kind}-{VERSION}.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)


def test_the_version_is_that_of_records() -> None:
    assert VERSION == RECORD_VERSION


@pytest.mark.parametrize("status", ["ok", "failed"])
def test_records_of_the_harness_follow_the_schema(status: str) -> None:
    record = make_record(status=status)
    assert refusal(record) is None
    assert first_fault(record, "record") is None


def test_both_refuse_the_same_changes_of_a_real_record() -> None:
    record = json.loads(RECORDS[0].read_text(encoding="utf-8"))
    record["config"] = {key: record["config"][key] for key in ("model", "sampler", "method", "backend", "prompts")}
    record["merges"][0]["merged"] = record["merges"][0]["merged"] or 1
    compared = 0
    for path in places(record):
        if path[:2] in (("provenance", "packages"), ("protocol", "model")):
            continue  # plain data to both
        for value in ((), *((other,) for other in OTHER)):
            other = changed(record, path, *value)
            ours, published = refusal(other), first_fault(other, "record")
            if ours is not None and any(word in ours for word in MEANT):
                continue
            assert (ours is None) == (published is None), (path, value, ours, published)
            compared += ours is not None
    assert compared > 300  # refused by both


def test_a_fault_is_one_line_with_its_place() -> None:
    record = make_record()
    record["timing"]["batches"][0]["seconds"][1] = "fast"
    assert first_fault(record, "record") == "timing.batches[0].seconds[1]: 'fast' is not of type 'number'"

import copy
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.records import status_of, validate_record
from eval.tables import build_table
from eval.tables.markdown import render
from tests.eval.sample_records import make_record
from tests.eval.sample_specs import make_spec


def test_records_of_every_status_are_valid() -> None:
    for record in (make_record(), make_record(status="failed"), make_record(invalid=2), make_record(profile="smoke")):
        validate_record(record)


@pytest.mark.parametrize(
    ("n", "invalid", "status"), [(100, 0, "ok"), (100, 1, "ok"), (100, 2, "invalid"), (2000, 20, "ok")]
)
def test_row_is_invalid_above_one_percent(n: int, invalid: int, status: str) -> None:
    assert status_of(n, invalid) == status


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        (("status",), "done", "record.status must be one of ok, failed, invalid, got 'done'"),
        (("status",), "failed", "record.error must be given for a failed run"),
        (("status",), "invalid", "record.status is 'invalid', but 0 of 100 images are invalid"),
        (("record_version",), True, "record.record_version must be int, got True"),
        (("record_version",), 2, "record.record_version is 2; this version reads 1"),
        (("experiment",), "../up", "record.experiment must be made of letters"),
        (("method",), ".hidden", "record.method must be made of letters"),
        (("pixel_hash",), "0" * 12, "but its config hashes to"),
        (("protocol_hash",), "0" * 12, "but its protocol hashes to"),
        (("merges",), None, "record.merges must be list, got None"),
        (("metrics", "fid", "interval"), [2.0, 1.0], r"record.metrics.fid.interval must be \[low, high\] or null"),
        (("metrics", "fid", "interval"), [1.0], r"record.metrics.fid.interval must be \[low, high\] or null"),
        (("metrics", "fid", "value"), None, "record.metrics.fid.reason must be str, got None"),
        (("metrics", "fid", "value"), math.nan, "record.metrics.fid.value is nan"),
        (("metrics", "fid", "n"), "100", "record.metrics.fid.n must be int or null, got '100'"),
        (("metrics", "fid", "differences", "none"), 1, "record.metrics.fid.differences.none must be dict"),
        (("timing", "resumed"), None, "record.timing.resumed must be bool, got None"),
        (("images", "invalid"), [{"key": "a"}], r"record.images.invalid\[0\].why must be str, got None"),
    ],
)
def test_a_departure_is_named(place: tuple[str, ...], value: object, sentence: str) -> None:
    record = copy.deepcopy(make_record())
    inner = record
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    with pytest.raises(ValueError, match=sentence):
        validate_record(record)


@pytest.mark.parametrize("key", sorted(make_record()))
def test_every_key_is_needed(key: str) -> None:
    record = make_record()
    del record[key]
    with pytest.raises(ValueError, match=f"record.{key} is absent"):
        validate_record(record)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(value: object, path: tuple = ()) -> list[tuple]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inner for place in places(item, (*path, key)))]


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_anything_anywhere_is_refused_or_makes_a_table(data: st.DataObject) -> None:
    record = make_record(invalid=1)
    place = data.draw(st.sampled_from(places(record)[1:]))
    inner = record
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = data.draw(JSON)
    try:
        validate_record(record)
    except ValueError:
        return
    render(build_table(make_spec(), [record]))

"""Every option of every method, with a value of another type: a ValueError that names it, and no other error."""

import dataclasses
import importlib
from pathlib import Path

import pytest
import yaml

import retom

ROOT = Path(__file__).parents[2]
TARGETS = {yaml.safe_load(path.read_text())["_target_"] for path in (ROOT / "conf/method").glob("*.yaml")
           if "_target_" in (yaml.safe_load(path.read_text()) or {})}  # fmt: skip
WRONG = ("x", None, [], {}, [1, 2], ["self", []], {"a": 1}, True, -1, 1.5, float("nan"))


def cases() -> list[tuple[type, str]]:
    methods = [getattr(importlib.import_module(name.rpartition(".")[0]), name.rpartition(".")[2]) for name in TARGETS]
    methods = sorted(set(methods), key=lambda method: method.__name__)
    return [(method, field.name) for method in methods for field in dataclasses.fields(method) if field.init]


@pytest.mark.parametrize(("method", "name"), cases(), ids=lambda value: getattr(value, "__name__", value))
def test_an_option_of_the_wrong_kind_is_named(method: type, name: str) -> None:
    output = []
    for value in WRONG:
        try:
            method(**{name: value})
        except ValueError as error:  # any other error fails the test
            output.append(str(error))
    assert len(output) >= 5
    assert [sentence for sentence in output if name not in sentence] == []


@pytest.mark.parametrize("method", sorted({method for method, _ in cases()}, key=lambda method: method.__name__))
def test_equal_methods_are_one_key(method: type) -> None:
    assert {method(): 1} == {method(): 1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ratio": "0.5"}, r"ratio must be in \[0, 1\), got '0.5'"),
        ({"ratio": float("nan")}, r"ratio must be in \[0, 1\), got nan"),
        ({"alpha": None}, r"alpha must be in \[0, 1\], got None"),
        ({"window": 2.0}, "window must be an integer of at least 1, got 2.0"),
        ({"window": {"down": 2, 1: 2}}, "window must be an int or have exactly the keys down, mid, up, got"),
        ({"destination": ["least"]}, "destination must be one of representative, least, random, got"),
        ({"targets": "self"}, "targets must be one or more of self, .*, each at most once, got 'self'"),
        ({"max_downsample": 0}, "max_downsample must be None or an integer of at least 1, got 0"),
        ({"share_plan": "no"}, "share_plan must be True or False, got 'no'"),
        ({"period": "20"}, "period must be an integer of at least 1, got '20'"),
    ],
)
def test_the_message_says_what_is_allowed(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        retom.ReToM(**changes)

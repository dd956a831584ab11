import math
from pathlib import Path

import pytest

from eval.records import make_protocol, pixel_hash, protocol_hash
from tests.eval.sample_records import make_config, make_record


def test_hash_is_pinned() -> None:
    """The hash names folders of finished runs: a change here makes every kept run again."""
    assert pixel_hash(make_config(ratio=0.5)) == "f79c4b951065"


def test_hash_ignores_what_changes_no_pixel() -> None:
    config = make_config(ratio=0.5, window=(2, 8))
    other = make_config(window=[2.0, 8], ratio=0.5) | {"metrics": {"profile": "smoke"}, "path": "/somewhere"}
    other["sampler"] = dict(reversed(list(other["sampler"].items()))) | {"batch_size": 1, "guidance": 7.5, "steps": 4.0}
    assert pixel_hash(config) == pixel_hash(other)
    assert pixel_hash(make_config(path=Path("a/b"))) == pixel_hash(make_config(path="a/b"))


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"name": "other"}},
        {"backend": "matmul"},
        {"method": {"_target_": "some.package.retom", "ratio": 0.25}},
        {"method": {"_target_": "some.package.retom", "ratio": "0.5"}},
        {"sampler": {"steps": 5}},
        {"prompts": {"seed": 1}},
    ],
)
def test_hash_covers_what_changes_pixels(change: dict) -> None:
    assert pixel_hash(make_config(ratio=0.5)) != pixel_hash(make_config(ratio=0.5) | change)


def test_true_is_not_one() -> None:
    assert pixel_hash(make_config(flag=True)) != pixel_hash(make_config(flag=1))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"ratio": math.nan}, "config.method.ratio is nan"),
        ({"ratio": object()}, "config.method.ratio is a object"),
        ({"window": {2: 8}}, "config.method.window has the key 2"),
        ({"window": [1, {2}]}, r"config.method.window\[1\] is a set"),
    ],
)
def test_hash_refuses_what_is_not_plain_data(options: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        pixel_hash(make_config(**options))


def test_hash_names_absent_keys() -> None:
    with pytest.raises(ValueError, match="config has no backend, prompts;"):
        pixel_hash({"model": 1, "sampler": {}, "method": 1})
    with pytest.raises(ValueError, match=r"config\.sampler must be a mapping, got 3"):
        pixel_hash(make_config() | {"sampler": 3})


def test_protocol_ignores_batch_size_and_method() -> None:
    first, second = make_record("retom"), make_record("tomesd", ratio=0.25)
    assert first["protocol_hash"] == second["protocol_hash"]
    assert "batch_size" not in first["protocol"]["sampler"]
    assert protocol_hash(first["protocol"] | {"n": 99}) != first["protocol_hash"]


@pytest.mark.parametrize(("dtype", "depends"), [("float32", False), ("float16", True), ("bfloat16", True)])
def test_the_batch_size_names_run_and_protocol_where_images_depend_on_it(dtype: str, depends: bool) -> None:
    facts = dict.fromkeys(("prompts_hash", "reference_hash", "metrics", "n", "n_reference", "device_name"))
    configs = [make_config() | {"sampler": {"dtype": dtype, "batch_size": size}} for size in (2, 4)]
    hashes = {pixel_hash(config) for config in configs}
    protocols = [make_protocol(config, **facts) for config in configs]
    assert len(hashes) == len({protocol_hash(protocol) for protocol in protocols}) == (2 if depends else 1)
    assert [protocol["sampler"].get("batch_size") for protocol in protocols] == ([2, 4] if depends else [None, None])


def test_protocol_has_exactly_its_keys() -> None:
    with pytest.raises(ValueError, match="wrong or absent: device_name, metrics, n, n_reference, networks"):
        make_protocol(make_config(), prompts_hash="a", reference_hash=None, networks={})

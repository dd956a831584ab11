"""Where no record is of the choices, the nearest one is named with the keys that differ."""

import pytest

from eval.errors import RunError
from eval.records import run_id
from scripts.finished.fitting import fitting
from tests.eval.sample_records import make_config, make_record


def asked(**changes: dict) -> dict:
    config = {**make_config(), "results": "results", "runs": "table1", "select": None, "seeds": []}
    return config | {group: config[group] | options for group, options in changes.items()}


RECORDS = [make_record("none"), make_record("retom", ratio=0.5), make_record("retom", model="other")]


def refusal(config: dict, records: list[dict]) -> str:
    with pytest.raises(RunError) as caught:
        fitting(records, config)
    return str(caught.value)


def test_records_of_the_choices_fit_whatever_their_method() -> None:
    assert fitting(RECORDS, asked()) == RECORDS[:2]
    assert fitting(RECORDS, asked(sampler={"steps": 9}) | {"select": {"model": "tiny"}}) == RECORDS


def test_the_nearest_record_and_its_keys_are_named() -> None:
    message = refusal(asked(sampler={"steps": 50}, prompts={"images_per_class": 5}), RECORDS)
    assert message == (
        "none of the 3 records in results/runs/table1 matches these choices; the nearest, "
        f"{min(map(run_id, RECORDS[:2]))}, has another sampler.steps (4 there, 50 here), prompts.images_per_class "
        "(2 there, 5 here); repeat the choices of the run, or set select={model:NAME}"
    )


def test_a_key_of_one_side_alone_and_a_long_value() -> None:
    message = refusal(asked(prompts={"classes": ["n01440764"] * 30, "template": "a"}), RECORDS[:1])
    assert 'prompts.classes (nothing there, ["n01440764","n01440764"' in message
    assert "..." in message
    assert len(message) < 500


def test_many_keys_are_counted() -> None:
    others = {
        "steps": 1,
        "guidance": 1.5,
        "height": 128,
        "width": 128,
        "scheduler": "ddim",
        "attention": "naive",
        "compile": True,
    }
    assert "and 2 more keys" in refusal(asked(sampler=others), RECORDS)


def test_another_seed_fits_where_several_are_asked_for() -> None:
    config = asked(prompts={"seed": 7})
    assert "prompts.seed (0 there, 7 here)" in refusal(config, RECORDS)
    assert fitting(RECORDS, config | {"seeds": [7, 8]}) == RECORDS[:2]


def test_a_thousand_records_take_no_time() -> None:
    records = [make_record("retom", ratio=number / 1000) for number in range(1000)]
    assert "sampler.steps (4 there, 50 here)" in refusal(asked(sampler={"steps": 50}), records)

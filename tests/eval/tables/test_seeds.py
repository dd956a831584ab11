import statistics

import pytest

from eval.errors import RunError
from eval.records import pixel_hash, protocol_hash
from eval.tables import build_table
from eval.tables.markdown import render
from eval.tables.seeds import spread
from tests.eval.sample_records import make_record
from tests.eval.sample_specs import make_spec

SHIPPED = {"ratio": 0.5, "window": {"down": 2, "mid": 8}}
FIDS = {0: 35.0, 1: 35.5, 2: 34.2}


def seeded(method: str, seed: int, **facts) -> dict:
    record = make_record(method, **facts)
    record["config"]["prompts"]["seed"] = seed
    record["protocol"]["prompts_hash"] = f"{seed}" * 64
    record["pixel_hash"] = pixel_hash(record["config"])
    record["protocol_hash"] = protocol_hash(record["protocol"])
    return record


def records() -> list[dict]:
    return [
        *(seeded("retom", seed, fid=fid, **SHIPPED) for seed, fid in FIDS.items()),
        *(seeded("none", seed, fid=37 + seed) for seed in (0, 1)),
        seeded("none", 2, status="failed"),
    ]


def test_the_first_seed_gives_the_numbers_and_all_of_them_the_spread() -> None:
    table = build_table(make_spec(), records(), seeds=(0, 1, 2))
    cells = table.line("retom").cells
    assert (cells["fid"], cells["seeds"]) == (35.0, 3)
    assert cells["fid_seed_mean"] == pytest.approx(statistics.fmean(FIDS.values()))
    assert cells["fid_seed_sd"] == pytest.approx(statistics.stdev(FIDS.values()))
    assert cells["fid_minus_none_seed_mean"] == pytest.approx(statistics.fmean(FIDS.values()) - 37.5)
    assert table.line("none").cells["seeds"] == 2
    assert table.line("tomesd").cells["seeds"] == 0
    page = render(table)
    assert "| 34.90 +- 0.66 (3) |" in page
    assert "over the run seeds 0, 1, 2" in page


def test_a_single_seeds_table_stays_as_it_was() -> None:
    alone = [record for record in records() if record["config"]["prompts"]["seed"] == 0]
    plain, several = build_table(make_spec(), alone), build_table(make_spec(), records(), seeds=(0, 1, 2))
    assert not [column for column in plain.columns if "seed" in column]
    for one, other in zip(plain.lines, several.lines, strict=True):
        assert one.cells == {column: other.cells[column] for column in plain.columns}


def test_seeds_that_do_not_belong_together_are_refused() -> None:
    mixed = records()
    mixed[1]["protocol"]["reference_hash"] = "f" * 64
    mixed[1]["protocol_hash"] = protocol_hash(mixed[1]["protocol"])
    with pytest.raises(RunError, match="differ in more of their protocol than the seed"):
        build_table(make_spec(), mixed, seeds=(0, 1, 2))
    with pytest.raises(RunError, match="seeds must differ"):
        build_table(make_spec(), records(), seeds=(0, 0))


def test_spread_needs_two() -> None:
    assert spread([]) == (None, None)
    assert spread([None, 2.0]) == (2.0, None)
    assert spread([1.0, 3.0]) == (2.0, pytest.approx(2**0.5))


def test_two_methods_of_the_same_options_are_two_rows() -> None:
    twin = seeded("retom", 0, fid=33.0, **SHIPPED) | {"method": "retom_twin"}
    table = build_table(make_spec(), [*records(), twin], seeds=(0,))
    assert table.line("retom").cells["fid"] == 35.0

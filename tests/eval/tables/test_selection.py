import pytest

from eval.errors import RunError
from eval.tables import build_table
from eval.tables.spec import TableSpec
from tests.eval.sample_records import make_record
from tests.eval.sample_specs import TABLE1, make_spec

SHIPPED = {"ratio": 0.5, "window": {"down": 2, "mid": 8}}


def mixed() -> list[dict]:
    return [make_record("none"), make_record("tomesd"), make_record("none", model="sd15")]


def test_mixed_protocols_are_refused_and_listed() -> None:
    records = mixed()
    with pytest.raises(RunError) as caught:
        build_table(make_spec(), records)
    message = str(caught.value)
    assert message.startswith("table1 would mix 2 protocols, which differ in model.name: ")
    assert f"{records[0]['protocol_hash']} (2 records, model tiny, 100 images, AMD EPYC)" in message
    assert f"{records[2]['protocol_hash']} (1 records, model sd15, 100 images, AMD EPYC)" in message
    assert f"select={{protocol: {records[0]['protocol_hash']}}}" in message


@pytest.mark.parametrize("select", [{"model": "sd15"}, {"model.name": "sd15"}, {"sampler.steps": 4, "model": "sd15"}])
def test_select_by_a_field(select: dict) -> None:
    table = build_table(make_spec(), mixed(), select=select)
    assert [line.status for line in table.lines] == ["ok", "missing", "missing", "missing"]
    assert table.line("none").record["protocol"]["model"]["name"] == "sd15"


def test_select_by_the_start_of_a_hash_takes_its_failed_runs_along() -> None:
    records = [*mixed(), make_record("atc", status="failed"), make_record("atc", status="failed", model="sd15")]
    table = build_table(make_spec(), records, select={"protocol": records[0]["protocol_hash"][:6]})
    assert [line.status for line in table.lines] == ["ok", "ok", "failed", "missing"]


def test_a_failed_run_that_contradicts_the_protocol_is_refused() -> None:
    with pytest.raises(RunError, match="would mix 2 protocols"):
        build_table(make_spec(), [make_record("none"), make_record("tomesd", status="failed", model="sd15")])
    with pytest.raises(RunError, match="would mix 2 protocols"):
        build_table(make_spec(), [make_record("none"), make_record("tomesd", profile="smoke")])


def test_select_names_an_unknown_field_and_a_value_that_fits_nothing() -> None:
    with pytest.raises(RunError, match=r"select has 'modle', which no protocol has; did you mean 'model'\?"):
        build_table(make_spec(), mixed(), select={"modle": "tiny"})
    with pytest.raises(RunError, match="select matches none of the 3 records; their protocols are: "):
        build_table(make_spec(), mixed(), select={"model": "sdxl"})


def test_without_shipped_options_a_row_is_not_guessed() -> None:
    spec = TableSpec.from_data(TABLE1)
    one = make_record("retom", **SHIPPED)
    assert build_table(spec, [one]).line("retom").record == one
    with pytest.raises(RunError, match="The records of retom differ in method, and table1 does not know"):
        build_table(spec, [one, make_record("retom", ratio=0.25)])
    with pytest.raises(RunError, match="The records of retom differ in backend"):
        build_table(spec, [one, make_record("retom", backend="matmul", **SHIPPED)])


def test_a_sweep_alone_leaves_the_papers_row_missing() -> None:
    table = build_table(make_spec(), [make_record("retom", **SHIPPED | {"ratio": 0.25})])
    assert table.line("retom").status == "missing"
    assert table.lines[-1].cells["model"] == "ReToM (Ours), ratio=0.25"


def test_methods_beyond_the_table_are_labelled_by_what_varies() -> None:
    records = [make_record("mine", strength=strength, same=1) for strength in (2, 1)]
    labels = [line.cells["model"] for line in build_table(make_spec(), records).lines[4:]]
    assert labels == ["mine, strength=1", "mine, strength=2"]

import pytest

from eval.tables.spec import TableSpec, metric_name
from tests.eval.sample_specs import TABLE1, TABLE2, make_spec


def test_labels_and_metrics_come_from_the_rows() -> None:
    spec = make_spec()
    assert spec.labels == ("model", "window_size", "dest_token")
    assert spec.metrics == ("fid", "clip", "s_per_im")
    assert make_spec(TABLE2).labels == ("model", "destination")
    assert spec.rows[0].labels["window_size"] == ""


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"row": []}, "a table has no key 'row'; allowed: name, title,"),
        ({"rows": []}, "table1 has no rows"),
        ({"rows": [{"model": "a"}]}, "a row of table1 has no method; it has model"),
        ({"rows": [TABLE1["rows"][0]] * 2}, "table1 has two rows of method 'none'"),
        ({"rows": [{"method": "a", "paper": {"fid": "35"}}]}, "paper.fid of a in table1 must be a number, got '35'"),
        ({"extra_rows": "some"}, "extra_rows of table1 must be one of all, options, none, got 'some'"),
        ({"rows": 5}, "rows of the table table1 must be a list of mappings with the key method, got 5"),
        ({"rows": ["none"]}, "rows of the table table1 must be a list of mappings"),
        ({"labels": "model"}, "labels of the table table1 must be a list of names, got 'model'"),
        ({"labels": ["window_size"]}, "labels of table1 must have model among them, got window_size"),
        ({"metrics": [5]}, r"metrics of the table table1 must be a list of names, got \[5\]"),
        ({"name": "../../table1"}, "the name of a table must be made of letters, digits, .*, got '../../table1'"),
        ({"name": None}, "the name of a table must be made of letters"),
        ({"profile": "fast"}, "profile of table1 must be one of real, smoke, none, got 'fast'"),
    ],
)
def test_bad_data_is_named(changes: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        TableSpec.from_data({**TABLE1, **changes})


def test_smoke_names() -> None:
    names = [metric_name(name, "smoke") for name in ("fid", "clip", "ssim", "s_per_im")]
    assert names == ["fid_smoke", "clip_smoke", "ssim", "s_per_im"]
    assert metric_name("fid", "real") == "fid"

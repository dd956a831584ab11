from pathlib import Path

import yaml

import retom
from eval.provenance import collect
from eval.tables import build_table
from tests.eval.sample_records import make_record
from tests.eval.sample_specs import TABLE2, make_spec

ROOT = Path(__file__).parents[2]


def test_every_column_and_key_is_in_the_dictionary(tmp_path: Path) -> None:
    text = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    columns = {*build_table(make_spec(), []).columns, *build_table(make_spec(TABLE2), []).columns}
    derived = ("_low", "_high", "_none")
    names = {name for name in columns if not name.startswith("paper_") and not name.endswith(derived)}
    record = make_record()
    names |= {*record, *record["protocol"], *record["images"], *record["metrics"]["fid"], *collect(root=tmp_path)}
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []


def test_citation_names_version_and_paper() -> None:
    import tomllib

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["version"] == retom.__version__
    assert citation["license"] == project["license"]
    assert "2507.12771" in citation["preferred-citation"]["url"]

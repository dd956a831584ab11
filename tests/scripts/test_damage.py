"""From finished runs of a sweep to the page on damage, with the model of random weights."""

import pandas
import pytest

from eval.errors import RunError
from eval.judging.damage import WORSE
from scripts.jobs.run_row import run_row
from scripts.studies.damage import Comparison

SIZE = ("experiment=damage", "prompts.classes=6", "prompts.images_per_class=2", "reference.per_class=2")


@pytest.mark.slow
def test_the_pairs_of_finished_runs_are_reported(smallest_row, session, tmp_path, capsys):
    rows = [smallest_row(*SIZE, f"method={name}", *more) for name, more in ROWS]
    with pytest.raises(RunError, match="there is no record"):
        Comparison(rows[0])
    for row in rows[1:]:
        run_row(row, session)
    with pytest.raises(RunError, match="lacks finished runs of method none; run these first"):
        Comparison(rows[0])
    run_row(rows[0], session)
    with pytest.raises(RunError, match=r"3 runs were scored before the baseline was finished \(first: damage/ret"):
        Comparison(rows[0])
    for row in rows[1:]:
        assert run_row(row, session) == "rescored"
    paths = Comparison(rows[0]).write()
    assert [path.name for path in paths] == ["damage_tiny_differences.csv", "damage_tiny_differences.md"]
    frame = pandas.read_csv(paths[0])
    assert sorted(zip(frame.method, frame.ratio, frame.against_method, frame.against_ratio, strict=True)) == [
        *[("retom", 0.25, "retom_random", 0.25)] * len(WORSE),
        *[("retom", 0.75, "retom", 0.25)] * len(WORSE),
    ]
    unmerged = frame[frame.metric == "fid_smoke_unmerged"]
    assert not set(unmerged.difference) & set(frame[frame.metric == "fid_smoke"].difference)
    ssim = frame[(frame.metric == "ssim") & (frame.ratio == 0.75)].iloc[0]
    assert ssim.low < ssim.difference < ssim.high < 0
    summary = "Damage in ssim, of 1 methods: grows for 1 (ReToM (Ours))."
    assert summary in capsys.readouterr().out
    assert f"- {summary}" in paths[1].read_text()


ROWS = (
    ("none", ()),
    ("retom", ("method.ratio=0.25",)),
    ("retom", ("method.ratio=0.75",)),
    ("retom_random", ("method.ratio=0.25",)),
)

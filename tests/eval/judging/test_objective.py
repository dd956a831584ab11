"""What a search minimises: the metric among rows that are quick enough, behind them the slow ones by how slow."""

import pytest

from eval.errors import RunError
from eval.judging.objective import TOO_SLOW, Objective
from tests.eval.sample_records import make_record


def test_lower_fid_and_higher_clip_are_better() -> None:
    good, bad = make_record(fid=30.0), make_record(fid=40.0)
    assert Objective("fid").loss(good) == 30.0
    assert Objective("clip").loss(good) > Objective("clip").loss(bad)  # their clip is lower with their fid
    assert Objective("fid").words(30.0) == "fid 30"
    assert Objective("clip").words(-31.25) == "clip 31.25"


def test_a_slow_row_loses_against_every_quick_one_and_less_so_the_quicker_it_is() -> None:
    objective = Objective("fid", s_per_im=2.0)
    quick, slow, slower = (make_record(fid=fid, seconds=s) for fid, s in ((99999.0, 2.0), (1.0, 2.2), (1.0, 4.0)))
    losses = [objective.loss(record) for record in (quick, slow, slower)]
    assert losses == sorted(losses)
    assert losses[0] < TOO_SLOW < losses[1] < losses[2]
    assert objective.words(losses[2]) == "2 times the time allowed"


def test_the_smoke_profiles_own_metrics_are_taken() -> None:
    assert Objective("fid").loss(make_record(profile="smoke", fid=3.0)) == 3.0


def test_what_cannot_be_judged_is_said() -> None:
    with pytest.raises(RunError, match=r"objective\.metric clip_vitl14 has no value in this row \(it has fid, "):
        Objective("clip_vitl14").loss(make_record())
    with pytest.raises(RunError, match=r"objective\.s_per_im needs the time per image, and this row was not timed"):
        Objective("fid", 2.0).loss(make_record() | {"timing": None})


def test_a_further_metric_is_minimised_by_its_direction() -> None:
    record = make_record()
    record["metrics"]["mine"] = {**record["metrics"]["fid"], "value": 4.0}
    further = {"mine": "higher", "other": None}
    assert Objective("mine").among(further).loss(record) == -4.0
    assert Objective("mine").among(further).words(-4.0) == "mine 4"
    assert Objective("mine", better="lower").among(further).loss(record) == 4.0
    assert Objective("clip").among(further).better == "higher"
    with pytest.raises(
        ValueError, match=r"^objective\.metric other does not say which values are better; set better in"
    ):
        Objective("other").among(further)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "fdi"}, "objective.metric must be one of fid, kid, clip, ssim, .*, mine, got 'fdi'"),
        ({"better": "more"}, "objective.better must be lower, higher or null, got 'more'"),
        ({"s_per_im": 0}, "objective.s_per_im must be a positive number of seconds or null, got 0"),
    ],
)
def test_bad_values_are_named(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        Objective(**options).among({"mine": None})

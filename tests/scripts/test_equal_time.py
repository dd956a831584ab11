"""Equal time: the arithmetic of step counts, and a measurement on the tiny model."""

import contextlib
import dataclasses

import pytest

from baselines.fewer_steps import FewerSteps
from eval.errors import RunError
from eval.speed.timing import TimingConfig
from scripts.jobs.measured import keep_finding
from scripts.studies import equal_time


def test_the_count_is_on_the_line_through_what_was_measured():
    line = {"asked": 50, "long": 5.5, "half": 25, "short": 3.0}  # 0.5 s and 0.1 s a step
    assert equal_time.matching_steps(**line, wanted=4.0) == 35
    assert equal_time.matching_steps(**line, wanted=3.96) == 35
    assert equal_time.matching_steps(**line, wanted=0.1) == 1
    with pytest.raises(RunError, match=r"too busy for a stable timing, raise timing\.images"):
        equal_time.matching_steps(50, 3.0, 25, 3.0, 2.0)


@pytest.mark.slow
def test_half_of_the_steps_is_found_to_cost_half_of_the_steps(smallest_row, session):
    """`fewer_steps` itself as the method: the answer is known."""
    row = smallest_row("method=fewer_steps", "method.share=0.5", "sampler.steps=12")
    for images in (7, 15, 31):  # more where the machine is too busy for so few
        row = dataclasses.replace(row, timing=TimingConfig(warmup=1, images=images))
        with contextlib.suppress(RunError):
            found = equal_time.equal_time(row, session)
            break
    assert 3 <= found.steps <= 9  # 6 on a machine of its own
    assert FewerSteps(found.share).steps(found.asked) == found.steps
    command = f"method=fewer_steps method.share={found.steps / 12:.6g}, with this model and sampler"
    assert equal_time.summary(row.name, found).endswith(command)


def test_a_run_takes_the_share_that_was_measured_for_its_model_and_sampler(smallest_row, tmp_path):
    with pytest.raises(RunError, match=r"not measured yet on tiny_random .* scripts\.equal_time"):
        smallest_row("method=fewer_steps")
    config = smallest_row("method=retom", "sampler.batch_size=2").config
    for steps in (18, 10):
        found = equal_time.EqualTime(asked=20, steps=steps, method=1.0, plain=2.0, seconds=1.1)
        keep_finding(tmp_path, "retom", config, found.facts)
    keep_finding(tmp_path, "retom", config | {"sampler": config["sampler"] | {"steps": 7}}, {"share": 0.25})
    # of the method with other options, of another backend, of another model: none of these is what the name stands for
    keep_finding(tmp_path, "retom", config | {"method": config["method"] | {"ratio": 0.75}}, {"share": 0.1})
    keep_finding(tmp_path, "retom", config | {"backend": {"name": "matmul"}}, {"share": 0.1})
    keep_finding(tmp_path, "retom", config | {"model": config["model"] | {"name": "other"}}, {"share": 0.1})
    row = smallest_row("method=fewer_steps")
    assert (row.method.share, row.config["method"]["share"]) == (0.5, 0.5)
    assert row.hash == smallest_row("method=fewer_steps", "method.share=0.5").hash
    assert smallest_row("method=fewer_steps", "sampler.steps=7").method.share == 0.25
    (tmp_path / "equal_time.json").write_text("[")
    with pytest.raises(RunError, match=r"is damaged .*; delete it and measure again"):
        smallest_row("method=fewer_steps")


def test_a_method_that_saves_nothing_has_no_equal(smallest_row, session, monkeypatch):
    row = smallest_row("method=none", "sampler.steps=4")
    monkeypatch.setattr(equal_time, "_seconds", lambda _row, _session, steps, method=None: 1.0 * steps)
    with pytest.raises(RunError, match="no smaller step count costs as much"):
        equal_time.equal_time(row, session)
    with pytest.raises(RunError, match="must be at least 2 to leave steps out, got 1"):
        equal_time.equal_time(smallest_row("sampler.steps=1"), session)

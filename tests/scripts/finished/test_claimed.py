"""A claim is a line of YAML: those of conf/claims.yaml, and what a line can get wrong."""

from dataclasses import dataclass

import pytest

from eval.errors import RunError
from eval.judging.claim import Claim
from eval.judging.no_worse import NoWorse
from eval.metrics.measures import ImageMetric
from scripts.finished.claimed import claims_of
from scripts.jobs.row import read_row, resolve
from tests.eval.sample_claims import shipped_claims
from tests.scripts.conftest import SMALLEST, composed

GOOD = {"method": "retom", "against": "none", "metric": "fid"}


@dataclass(frozen=True)
class Grey(ImageMetric):
    """A metric that does not say which values are better."""

    identity = "mean pixel"

    def load(self, device):
        return lambda images: images.mean((1, 2, 3))


def configuration(claims: object) -> dict:
    grey, network = f"{Grey.__module__}.Grey", "eval.metrics.networks.smoke.SmokeFeatures"
    distance = {"_target_": "eval.metrics.fid.FrechetDistance", "network": {"_target_": network}}
    extra = {"grey": {"_target_": grey}, "fid_mine": distance}
    metrics = {"_target_": "eval.metrics.profiles.SmokeMetrics", "extra": extra}
    return {"claims": claims, "metrics": metrics, "trusted": ["tests"]}


def test_the_shipped_claims_are_read_in_their_order() -> None:
    config, choices = composed("experiment=smoke", *SMALLEST, name="claims")
    assert claims_of(resolve(config)) == shipped_claims()
    assert "claims" not in read_row(config, {**choices, "method": "none"}).config  # records do not hold them


def test_a_line_is_a_claim() -> None:
    kind = "eval.judging.no_worse.NoWorse"
    lines = {
        "a": {**GOOD, "metric": "clip"},
        "b": {**GOOD, "metric": "grey", "better": "higher"},
        "c": {**GOOD, "_target_": kind},
        "d": {**GOOD, "metric": "fid_mine"},
    }
    first, second, third, fourth = claims_of(configuration(lines))
    assert first == Claim("a", "retom", "none", "clip", "higher")
    assert second == Claim("b", "retom", "none", "grey", "higher")
    assert fourth == Claim("d", "retom", "none", "fid_mine", "lower")  # its class says it
    assert third == NoWorse("c", "retom", "none", "fid", "lower")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"metric": "fdi"}, r"^claims\.a b: metric must be one of fid, .*s_per_im, grey, fid_mine, got 'fdi'$"),
        ({"against": "nope"}, r"^claims\.a b: against must be one of atc, .*tomesd.*, got 'nope'$"),
        ({"better": "less"}, r"^claims\.a b: better must be lower or higher, got 'less'$"),
        ({"betr": "lower"}, r"^unknown key claims\.a b\.betr, the nearest is claims\.a b\.better$"),
        ({"metric": "grey"}, r"^claims\.a b has no better, which has no default"),
        ({"_target_": "eval.metrics.ssim.Likeness"}, r"unknown key claims\.a b\.text"),
        ({"_target_": "elsewhere.Kind"}, r"^claims\.a b\._target_ names elsewhere\.Kind, which is not of .*trusted="),
    ],
)
def test_a_mistake_is_one_line(line: dict, message: str) -> None:
    with pytest.raises((ValueError, RunError), match=message) as raised:
        claims_of(configuration({"a b": {**GOOD, **line}}))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("claims", [None, ["a"], {"a": None}])
def test_other_than_options_by_text_is_refused(claims: object) -> None:
    with pytest.raises(ValueError, match="claims must be options by the claim in words"):
        claims_of(configuration(claims))

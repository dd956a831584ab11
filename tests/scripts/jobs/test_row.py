"""What a row's identity and its seconds belong to."""

import re

import pytest
from omegaconf import open_dict

from eval.generation.prompts import PromptSet
from eval.generation.sampler import SamplerConfig
from eval.records import protocol_hash
from scripts.jobs.row import build, device_of
from scripts.jobs.run_row import run_row
from tests.scripts.conftest import SMALLEST, composed

NETWORK = {"_target_": "eval.metrics.networks.smoke.SmokeFeatures"}
TIMED = ("timing=smoke", "timing.warmup=0", "timing.images=1")


def test_seconds_of_another_device_do_not_become_those_of_this_one(smallest_row, session, caplog) -> None:
    row = smallest_row("method=none", *TIMED)
    folder = row.folder
    run_row(row, session)
    record = folder.read_record()
    assert record["timing"] is not None
    record["protocol"]["device_name"] = "another"
    record["protocol_hash"] = protocol_hash(record["protocol"])
    folder.write_record(record)
    assert run_row(smallest_row("method=none", "timing=off"), session) == "rescored"
    assert folder.read_record()["timing"] is None
    assert "The timing is from another and this is" in caplog.text
    assert run_row(row, session) == "done"
    assert folder.read_record()["timing"] is not None


def test_classes_in_another_order_are_the_same_run(smallest_row) -> None:
    orders = ("n02119789,n01440764", "n01440764,n02119789")
    one, other = (smallest_row(f"prompts.classes=[{order}]") for order in orders)
    assert one.hash == other.hash


def test_a_choice_that_lacks_a_key_says_which() -> None:
    """As a file of a user's own may: Hydra composes it, and the class has no default."""
    with pytest.raises(ValueError, match=r"model has no name, which has no default; set model\.name=VALUE"):
        build("model", {"_target_": "eval.generation.models.config.ModelConfig", "kind": "tiny"})
    assert build("prompts", {"_target_": "eval.generation.prompts.PromptSet"}).template == PromptSet().template


def test_the_device_of_a_sampler_that_names_none() -> None:
    config, _ = composed(*SMALLEST)
    with open_dict(config):
        del config.sampler["device"]
    assert device_of(config) == SamplerConfig.device


@pytest.mark.parametrize(
    ("distance", "message"),
    [
        ({"network": {**NETWORK, "sed": 1}}, "unknown key {0}.network.sed, the nearest is {0}.network.seed"),
        ({"netwrk": NETWORK}, "unknown key {0}.netwrk, the nearest is {0}.network"),
        ({}, "{0} has no network, which has no default; set {0}.network=VALUE"),
    ],
)
def test_an_option_at_any_depth_is_checked(distance: dict, message: str) -> None:
    extra = {"mine": {"_target_": "eval.metrics.fid.FrechetDistance", **distance}}
    with pytest.raises(ValueError, match=f"^{re.escape(message.format('metrics.extra.mine'))}$"):
        build("metrics", {"_target_": "eval.metrics.profiles.SmokeMetrics", "extra": extra})

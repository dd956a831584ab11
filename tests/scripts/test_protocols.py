"""The published protocols of submissions are those of the experiments they name."""

from pathlib import Path

import pytest

from eval.records import make_protocol
from eval.reference.loading import load_reference
from eval.submissions.protocols import Published, fixed_part, read_published
from scripts.command_line.entry import ROOT
from scripts.jobs.row import read_row
from tests.scripts.conftest import composed

PUBLISHED = read_published(ROOT / "submissions")


def fixed_by(experiment: str, cache: Path, unknown: list[str]) -> dict:
    """What a run of the experiment has in its protocol, on whatever machine; null for what is `unknown` here.

    The reference images of Table I and the hashes of CLIP's weights are not on a machine without a network.
    """
    config, choices = composed(f"experiment={experiment}", "method=retom")
    if config.reference.kind == "folder":
        config.reference.path = "any folder"
    row = read_row(config, choices)
    known = {} if "reference_hash" in unknown else load_reference(row.reference, row.prompts.selected(), cache)
    networks = {name: metric for name, metric in row.metrics.columns.items() if name != "ssim"}
    protocol = make_protocol(
        row.config,
        prompts_hash=row.prompts.hash,
        reference_hash=known.hash if known else None,
        metrics={
            "profile": row.metrics.profile,
            "networks": {
                name: None if f"metrics.networks.{name}" in unknown else metric.identity
                for name, metric in networks.items()
            },
        },
        n=len(row.prompts.items()),
        n_reference=known.n if known else len(row.prompts.selected()) * row.reference.per_class,
        device_name="any device",
    )
    return fixed_part(protocol)


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda published: published.name)
def test_a_published_protocol_is_that_of_its_experiment(published: Published, tmp_path: Path) -> None:
    assert fixed_by(published.experiment, tmp_path, published.open) == published.fixed
    timing = composed(f"experiment={published.experiment}")[0].timing
    assert timing.images >= published.timed_images


def test_the_protocols_differ_and_have_names_of_their_own() -> None:
    assert len({one.hash for one in PUBLISHED}) == len({one.name for one in PUBLISHED}) == len(PUBLISHED) == 2

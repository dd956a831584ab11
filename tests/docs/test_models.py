"""docs/models.md is what a run of every method on every model finds."""

import pytest

from tests.docs.matrix import NO, PAGE, YES, Outcome, page, tried


@pytest.fixture(scope="module")
def outcome():
    """A function from method and family to what happened."""
    from tests.docs.families import family

    return lambda method, name: tried(family(name), method)


def test_a_method_that_runs_one_that_needs_an_option_and_one_that_is_refused(outcome) -> None:
    assert outcome("retom", "sd15") == Outcome(YES)
    assert outcome("retom", "flux") == Outcome(YES)
    assert outcome("sito", "sdxl") == Outcome("`max_downsample=2`")
    refused = outcome("oracle", "sd3")
    assert refused.cell == NO
    assert "supported are U-Nets and PixArt" in refused.message


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
def test_the_page_is_what_was_found() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()

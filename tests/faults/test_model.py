"""A model that gives NaN or raises, and a clock that runs backwards."""

from pathlib import Path

import pytest

from tests.faults.workshop import RUN, TABLES, images

pytestmark = pytest.mark.faults
# Calls of the denoiser: each of a row's two images takes three (two steps of PNDM), then come those that are timed.
IN_IMAGES = (0, 4, 14)  # both images of the first row, one of the second
TIMED = 8


@pytest.mark.parametrize("call", IN_IMAGES)
def test_nan_latents(call: int, trial, server, whole, tmp_path: Path) -> None:
    with trial("NaN latents", f"call {call}") as one:
        done = server.run("scripts.run", *RUN, folder=tmp_path, sabotage={"nan_latents": {"call": call}})
        assert len(images(tmp_path / "results")) == len(whole.images), done.printed
        assert sum(whole.images[name] != value for name, value in images(tmp_path / "results").items()) == 1
        built = server.run("scripts.tables", *TABLES, folder=tmp_path)
        assert built.status == 1
        assert "is invalid" in built.printed, built.printed
        one.recover(tmp_path, says="misses 1 of its 2 images")


@pytest.mark.parametrize("call", [*IN_IMAGES, TIMED])
def test_the_denoiser_raises(call: int, trial, server, tmp_path: Path) -> None:
    with trial("a denoiser that raises", f"call {call}") as one:
        done = server.run("scripts.run", *RUN, folder=tmp_path, sabotage={"denoiser_raises": {"call": call}})
        assert done.status == 1
        assert f"RuntimeError: injected at call {call}" in done.printed
        built = server.run("scripts.tables", *TABLES, folder=tmp_path)
        assert built.status == 1
        assert f"is failed: RuntimeError: injected at call {call}" in built.printed, built.printed
        one.recover(tmp_path, says="done")


@pytest.mark.parametrize("seconds", [1e-3, 3600.0])
def test_a_clock_going_backwards(seconds: float, trial, server, tmp_path: Path) -> None:
    with trial("clock going backwards", f"{seconds:g} s at every look") as one:
        sabotage = {"clock_goes_back": {"seconds_per_call": seconds}}
        done = server.run("scripts.run", *RUN, folder=tmp_path, sabotage=sabotage)
        assert done.status == 0, done.printed
        one.recover(tmp_path, says="already finished")

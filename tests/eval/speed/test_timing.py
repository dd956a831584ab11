"""The timing pass: what is called, what is kept, what is refused."""

import json
import time

import numpy as np
import pytest
import torch

from eval.errors import RunError
from eval.generation.sampler import SamplerConfig
from eval.speed.measuring import measure, summarise
from eval.speed.timing import TimingConfig

SAMPLER = SamplerConfig(steps=1, height=64, width=64)


def test_every_shape_is_warmed_up_and_its_raw_values_saved(tiny_original):
    calls = []
    timing = TimingConfig(warmup=1, images=3, batch_sizes=(2,))
    result = measure(tiny_original, SAMPLER, timing, prompts=["a dog", "a cat"], before_batch=calls.append)
    assert calls == [[0], [0], [1], [2], [0, 1], [0, 1], [2, 3]]
    single, double = result["batches"]
    assert (single["batch_size"], len(single["seconds"]), double["batch_size"], len(double["seconds"])) == (1, 3, 2, 2)
    assert result["s_per_im"] == single["median"] == np.median(single["seconds"]) > 0
    assert double["images_per_s"] == pytest.approx(2 / np.median(double["seconds"]))
    assert result["images_per_s"] == max(single["images_per_s"], double["images_per_s"])
    assert result["peak_memory"]["process_peak_rss_bytes"] > 10**8
    assert result["other_gpu_processes"] is None
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_a_batch_that_does_not_fit_is_left_out_and_reported(tiny_original):
    def at_most_one(seeds: list[int]) -> None:
        if len(seeds) > 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    timing = TimingConfig(warmup=0, images=2, batch_sizes=(2, 4))
    result = measure(tiny_original, SAMPLER, timing, prompts=["a"], before_batch=at_most_one)
    assert result["out_of_memory"] == [2, 4]
    assert [row["batch_size"] for row in result["batches"]] == [1]


def test_not_even_one_image_is_one_line(tiny_original):
    def never(_: list[int]) -> None:
        raise MemoryError

    with pytest.raises(RunError, match="memory runs out with one image per pipeline call"):
        measure(tiny_original, SAMPLER, TimingConfig(warmup=0, images=1), prompts=["a"], before_batch=never)


def test_before_batch_is_inside_the_time(tiny_original):
    timing = TimingConfig(warmup=0, images=1)
    result = measure(tiny_original, SAMPLER, timing, prompts=["a"], before_batch=lambda _: time.sleep(0.5))
    assert result["s_per_im"] >= 0.5


def test_batch_one_is_always_measured_and_each_size_once():
    assert TimingConfig(batch_sizes=[4, 2, 4]).shapes == (1, 2, 4)


def test_the_summary_is_exact():
    summary = summarise([4.0, 1.0, 2.0, 3.0, 5.0])
    assert summary == {"median": 3.0, "p90": pytest.approx(4.6), "iqr": 2.0, "min": 1.0}


def test_no_prompts_are_refused(tiny_original):
    with pytest.raises(ValueError, match="prompts must have at least one prompt"):
        measure(tiny_original, SAMPLER, TimingConfig(), prompts=[])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"enabled": "yes"}, "timing.enabled must be true or false, got 'yes'"),
        ({"warmup": -1}, "timing.warmup must be an integer of at least 0, got -1"),
        ({"images": 0}, "timing.images must be an integer of at least 1, got 0"),
        ({"batch_sizes": [0]}, "timing.batch_sizes must be an integer of at least 1, got 0"),
        ({"batch_sizes": 4}, r"timing.batch_sizes must be a list of integers, such as \[4, 8\], got 4"),
        ({"wait": -1}, "timing.wait must be a number of seconds of at least 0, got -1"),
        ({"again": 1}, "timing.again must be true or false, got 1"),
    ],
)
def test_bad_values_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        TimingConfig(**options)

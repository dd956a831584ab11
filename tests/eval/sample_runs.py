"""Run folders on disk with records, manifests and small images, for the tests of the report."""

import json
from pathlib import Path

import numpy as np

from eval import atomic
from eval.generation.images import write_png
from eval.records import run_id

PROMPTS = (
    "A photograph of a tench.",
    "</script><script>alert(1)</script> \"quoted\" & 'single'",
    "A drawing of a newt.",
)


def write_run(
    runs: Path, record: dict, *, noise: float = 0.0, prompts: tuple[str, ...] = PROMPTS, side: int = 48
) -> Path:
    """The folder of `record`: images that depend on the prompt's place alone, plus `noise` of their range.

    The noise grows with the place, so that the last prompt is moved furthest.
    """
    folder = runs / run_id(record)
    items = [
        {"key": f"{place:04d}_000", "class_index": place, "prompt": prompt, "seed": 7 + place, "file": f"{place}.png"}
        for place, prompt in enumerate(prompts)
    ]
    (folder / "images").mkdir(parents=True)
    atomic.write_json(folder / "record.json", record)
    atomic.write_text(folder / "manifest.jsonl", "".join(json.dumps(item) + "\n" for item in items))
    for place, item in enumerate(items):
        write_png(folder / "images" / item["file"], image(place, noise * (place + 1), side))
    return folder


def image(place: int, noise: float, side: int) -> np.ndarray:
    """[side, side, 3] uint8."""
    generator = np.random.default_rng(place)
    base, moved = generator.uniform(0, 255, (2, side, side, 3))
    return ((1 - noise) * base + noise * moved).astype(np.uint8)

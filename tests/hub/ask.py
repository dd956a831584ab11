"""Gets one thing as a run does, for tests: `python -m tests.hub.ask model NAME | clip FILE | reference`.

Prints where it is, or `error: ` and the one line. With `cached` as last argument nothing may be downloaded.
"""

import logging
import sys
from pathlib import Path

from omegaconf import OmegaConf

from eval.downloads import fetching
from eval.errors import RunError

CONF = Path(__file__).parents[2] / "conf"


def model(name: str, mode: str = "") -> object:
    """The folder of conf/model/<name>.yaml; with `cached` the one that is complete, with `size` the bytes to come."""
    from eval.generation.models.hub_files import cached_pipeline, files_to_come, pipeline_folder, repository

    config = OmegaConf.load(CONF / "model" / f"{name}.yaml")
    if mode == "size":
        return sum(file.size for file in files_to_come(repository(config), config.variant))
    return (cached_pipeline if mode == "cached" else pipeline_folder)(repository(config), config.variant)


def file(repo: str, name: str, mode: str = "locate", revision: str = "main") -> object:
    """A weight file of a repository; with `digest` its sha256."""
    from eval.downloads.weights import HubFile

    found = HubFile(repo, name, revision)
    return found.digest if mode == "digest" else found.locate()


def reference() -> object:
    """How many images of how many classes the validation split holds."""
    from eval.generation.prompts import imagenet_classes
    from eval.reference.sources import from_hub

    images = from_hub("ILSVRC/imagenet-1k", None, {kind.wnid: kind.index for kind in imagenet_classes()})
    return f"{sum(map(len, images.values()))} of {len(images)}, first {next(iter(images.values()))[0].read()[:2]}"


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    fetching.WAITS = tuple(0.05 for _ in fetching.WAITS)  # as many tries as a run has, sooner
    try:
        print({"model": model, "file": file, "reference": reference}[sys.argv[1]](*sys.argv[2:]))
    except RunError as error:
        print(f"error: {error}")
        sys.exit(1)

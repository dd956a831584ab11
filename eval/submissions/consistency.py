"""Whether one record is of a piece: its protocol that of its configuration, its images those of its prompts."""

import math
from collections.abc import Mapping

from eval.decoding import hash_of_digests, image_label
from eval.errors import RunError
from eval.generation.prompts import PromptItem, PromptSet
from eval.records import make_protocol, run_id
from eval.records.canonical import canonical_json, mapping_or_empty
from eval.submissions.environment import stated_device
from eval.submissions.layout import HASHES, IMAGES, Submission, file_hash, fixed_images

_AS_WRITTEN = "submit the record as the run wrote it"
_FROM_CONFIG = ("model", "sampler", "dtype", "attention")
# Sums over the same numbers in another order.
_ROUNDING = 1e-9


def check_protocol(record: Mapping) -> list[PromptItem]:
    """The images that the record's prompts ask for. RunError: its protocol is not of its configuration or device."""
    protocol, config = record["protocol"], record["config"]
    facts = {key: value for key, value in protocol.items() if key not in _FROM_CONFIG}
    made = make_protocol(config, **facts)
    other = [key for key in _FROM_CONFIG if canonical_json(made[key]) != canonical_json(protocol[key])]
    if other:
        raise RunError(f"record.protocol.{other[0]} is not that of its config; {_AS_WRITTEN}")
    if protocol["device_name"] != stated_device(record):
        raise RunError(
            f"record.protocol.device_name is {protocol['device_name']!r}, but its provenance names "
            f"{stated_device(record)!r}; {_AS_WRITTEN}"
        )
    prompts = prompts_of(config)
    items = prompts.items()
    for key, wanted in (("prompts_hash", prompts.hash), ("n", len(items))):
        if protocol[key] != wanted:
            raise RunError(f"record.protocol.{key} is not that of its config ({wanted}); {_AS_WRITTEN}")
    if record["images"]["n"] != len(items):
        raise RunError(f"record.images.n is {record['images']['n']}, and {len(items)} were asked for; {_AS_WRITTEN}")
    return items


def prompts_of(config: Mapping) -> PromptSet:
    """The prompts of a stranger's configuration, of which nothing is imported. RunError: they are none of ours."""
    options = {key: value for key, value in config["prompts"].items() if key != "_target_"}
    try:
        return PromptSet(**options)
    except (TypeError, ValueError) as error:
        raise RunError(f"record.config.prompts cannot be used ({error}); {_AS_WRITTEN}") from error


def check_images(submission: Submission, items: list[PromptItem]) -> None:
    """RunError: a hash or an image is missing, not asked for, or not the one that the record was scored from."""
    files, hashes = [item.file for item in items], submission.hashes
    for name in files:
        if name not in hashes:
            raise RunError(f"{HASHES} lacks {name}; {len(hashes)} of {len(files)} images have a hash: pack again")
    extra = [name for name in hashes if name not in set(files)]
    if extra:
        raise RunError(f"{HASHES} lists {extra[0]}, which the prompts do not ask for; pack the run again")
    found = hash_of_digests(map(image_label, items), (bytes.fromhex(hashes[name]) for name in files))
    if found != submission.record["images"].get("sha256"):
        raise RunError(f"{HASHES} is not of the images that the record was scored from; pack the run again")
    shown, folder = fixed_images(files), submission.folder / IMAGES
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    for name in shown:
        if name not in there:
            raise RunError(f"{IMAGES}/{name} is missing; the {len(shown)} images are fixed by the prompts: pack again")
        if file_hash(folder / name) != hashes[name]:
            raise RunError(f"{IMAGES}/{name} is not the file that {HASHES} lists; pack the run again")
    if there - set(shown):
        raise RunError(f"{IMAGES}/{min(there - set(shown))} is not one of the {len(shown)} fixed images; remove it")


def check_differences(record: Mapping, none: Mapping) -> None:
    """RunError: the record was compared with another baseline, or a value is not the baseline's plus the difference."""
    if record["method"] == none["method"]:
        if canonical_json(dict(record)) != canonical_json(dict(none)):
            raise RunError("record.json and none.json are both of method none and differ; submit the same record twice")
        return
    if mapping_or_empty(record.get("against")).get("none") != run_id(none):
        raise RunError(
            f"the record was not compared with none.json ({run_id(none)}); run the row again once method=none is "
            "finished, and pack both"
        )
    for name, metric in record["metrics"].items():
        base = none["metrics"].get(name, {}).get("value")
        gap = metric["differences"].get("none", {}).get("value")
        if metric["value"] is None or base is None or gap is None:
            continue
        scale = max(abs(metric["value"]), abs(base), abs(gap))
        if not math.isclose(metric["value"] - base, gap, rel_tol=0, abs_tol=_ROUNDING * scale):
            raise RunError(
                f"record.metrics.{name}.value is {metric['value']:.6g}, but none.json and the recorded difference make "
                f"it {base + gap:.6g}; {_AS_WRITTEN}"
            )

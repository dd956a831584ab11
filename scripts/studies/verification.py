"""A finished run scored again from its images: what is the same as in its record, and what is not."""

import dataclasses
import json
import tempfile
from pathlib import Path

import yaml

from eval.decoding import ImageSet
from eval.generation.images import verify
from eval.judging.verification import DIFFERENT, EQUAL, Finding, compare_metrics
from eval.metrics.profiles import score
from eval.records import RunFolder, pixel_hash, status_of
from eval.run.record import image_facts, protocol_of
from eval.run.siblings import compared_with, image_set
from scripts.finished.recorded import Recorded, recorded

IMAGES = "image files"


def findings_of(record: dict, results: Path, trusted: list[str]) -> list[Finding]:
    """The outcome of each check; images are scored again only where the run's configuration is that of the record."""
    run = recorded(record, results, trusted)
    findings = [*_folder(run), *_images(run)]
    if all(finding.good for finding in findings if finding.what != IMAGES):
        findings += _scores(run)  # also for other images: which numbers they change
    return findings


def _folder(run: Recorded) -> list[Finding]:
    """Name, configuration and manifest: whether the images are those of the record's configuration."""
    name = f"{run.record['experiment']}/{run.record['method']}-{run.row.hash}"
    return [_same("folder", run.folder.run_id, name), _config(run), _manifest(run)]


def _config(run: Recorded) -> Finding:
    try:
        kept = pixel_hash(yaml.safe_load((run.folder.path / "config.yaml").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        return Finding("config.yaml", DIFFERENT, f"cannot be read: {' '.join(str(error).split())}")
    return _same("config.yaml", kept, run.row.hash)


def _manifest(run: Recorded) -> Finding:
    wanted = [dataclasses.asdict(item) for item in run.items]
    try:
        lines = (run.folder.path / "manifest.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
        manifest = [json.loads(line) for line in lines]
    except (OSError, ValueError) as error:
        return Finding("manifest.jsonl", DIFFERENT, f"cannot be read: {error}")
    outcome = EQUAL if manifest == wanted else DIFFERENT
    return Finding("manifest.jsonl", outcome, f"{len(manifest)} images, {len(wanted)} requested")


def _same(what: str, there: object, wanted: object) -> Finding:
    return Finding(what, EQUAL, str(there)) if there == wanted else Finding(what, DIFFERENT, f"{there}, not {wanted}")


def _images(run: Recorded) -> list[Finding]:
    check = verify(run.items, run.folder.images, run.row.sampler.size)
    gone = [*check.missing, *check.broken]
    if gone:
        missing = f"{len(gone)} of {len(run.items)} are missing or damaged (first: {gone[0]})"
        return [Finding("images", DIFFERENT, missing)]
    facts = image_facts(run.items, run.folder, run.images, run.row.sampler)
    kept = run.record["images"]
    return [
        _same("images", *(f"{images['n']}, {len(images['invalid'])} invalid" for images in (facts, kept))),
        _same(IMAGES, facts["sha256"], kept.get("sha256")),
        _same("foreign files", facts["foreign"], kept["foreign"]),
        _same("status", status_of(facts["n"], len(facts["invalid"])), run.record["status"]),
    ]


def _scores(run: Recorded) -> list[Finding]:
    reference = run.reference()
    device = run.record["protocol"]["device_name"]
    protocol = protocol_of(run.row, run.items, reference, device)
    findings = [
        _same(f"protocol.{key}", _short(protocol[key]), _short(value)) for key, value in run.record["protocol"].items()
    ]
    if reference is None:
        return findings
    images = run.images
    others = {name: _compared_images(run, other) for name, other in run.record.get("against", {}).items()}
    with tempfile.TemporaryDirectory() as cache:
        again = score(
            images,
            reference,
            run.row.metrics,
            cache=Path(cache),
            device=run.row.sampler.device,
            bootstrap=run.row.bootstrap,
            against=compared_with(run.record["method"], images, others),
        )
    return findings + compare_metrics(run.record["metrics"], again)


def _compared_images(run: Recorded, other: str) -> ImageSet:
    """The images of a run that this one was compared with: of the same items."""
    experiment, _, name = other.partition("/")
    method, _, number = name.rpartition("-")
    return image_set(RunFolder(run.folder.root, experiment, method, number), run.items)


def _short(value: object) -> str:
    text = json.dumps(value, sort_keys=True)
    return text if len(text) <= 80 else f"{text[:77]}..."

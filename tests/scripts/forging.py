"""What forgers do to a submission, by name, with the sentence that each is refused with."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from eval.generation.images import write_png
from eval.records import make_protocol, pixel_hash, protocol_hash
from eval.submissions.layout import IMAGES, LIMIT

Forge = Callable[[Path], None]


def only(tree: Path, method: str) -> Path:
    """The folder of a method's one submission."""
    (folder,) = tree.glob(f"{method}/*/*")
    return folder


def edit(folder: Path, name: str, change: Callable[[dict], object]) -> None:
    """Change a JSON document of a submission."""
    document = json.loads((folder / name).read_text(encoding="utf-8"))
    change(document)
    (folder / name).write_text(json.dumps(document), encoding="utf-8")


def rehash(record: dict) -> None:
    """Make the record agree with its configuration again, as a careful forger would."""
    facts = {key: record["protocol"][key] for key in ("prompts_hash", "reference_hash", "metrics", "n", "n_reference")}
    record["protocol"] = make_protocol(record["config"], **facts, device_name=record["protocol"]["device_name"])
    record["pixel_hash"] = pixel_hash(record["config"])
    record["protocol_hash"] = protocol_hash(record["protocol"])


def every_record(change: Callable[[dict], object]) -> Forge:
    """The same change of the record and both baselines."""

    def forge(folder: Path) -> None:
        for name in ("record.json", "none.json", "oracle.json"):
            edit(folder, name, change)

    return forge


def one_record(change: Callable[[dict], object], name: str = "record.json") -> Forge:
    """A change of one document."""
    return lambda folder: edit(folder, name, change)


def changed_seconds(record: dict) -> None:
    record["timing"]["s_per_im"] *= 0.5


def rescale(record: dict, by: float) -> None:
    """Raw seconds and all that follows from them, on a device that is said to be idle."""
    timing, batch = record["timing"], record["timing"]["batches"][0]
    batch["seconds"] = [by * second for second in batch["seconds"]]
    batch["median"] = timing["s_per_im"] = float(np.median(batch["seconds"]))
    timing["quiet"] = True


def faster_than_free(folder: Path) -> None:
    edit(folder, "record.json", lambda record: rescale(record, 0.1))
    for name in ("none.json", "oracle.json"):
        edit(folder, name, lambda record: rescale(record, 1.0))


def other_protocol(record: dict) -> None:
    record["config"]["sampler"]["steps"] = 20
    rehash(record)


def other_device(record: dict) -> None:
    record["protocol"]["device_name"] = "NVIDIA H100"
    record["protocol_hash"] = protocol_hash(record["protocol"])


def other_torch(record: dict) -> None:
    record["provenance"]["packages"]["torch"]["version"] = "2.12.0"


def other_prompts(record: dict) -> None:
    record["config"]["prompts"]["seed"] = 1
    record["pixel_hash"] = pixel_hash(record["config"])


def better_fid(record: dict) -> None:
    record["metrics"]["fid_smoke"]["value"] -= 1


def merging_nothing(record: dict) -> None:
    for site in record["merges"]:
        site["merged"] = site["tokens"]


def weak_bound(record: dict) -> None:
    for site in record["merges"]:
        site["merged"] = site["tokens"] - 1


def missing_hash(folder: Path) -> None:
    lines = (folder / "images.sha256").read_text().splitlines(keepends=True)
    (folder / "images.sha256").write_text("".join(lines[:-1]))


def wrong_hash(folder: Path) -> None:
    path = folder / "images.sha256"
    path.write_text(re.sub(r"^[0-9a-f]{64}", "0" * 64, path.read_text(), count=1))


def first_image(folder: Path) -> Path:
    return min((folder / IMAGES).iterdir())


def tampered_image(folder: Path) -> None:
    write_png(first_image(folder), np.zeros((64, 64, 3), np.uint8))


def another_image(folder: Path) -> None:
    shutil.copy(first_image(folder), folder / IMAGES / "0001_004.png")


def linked_image(folder: Path) -> None:
    image = first_image(folder)
    shutil.move(image, folder.parent / "elsewhere.png")
    image.symlink_to(folder.parent / "elsewhere.png")


def renamed(part: int, name: str) -> Forge:
    """The folder under another method, environment or run."""

    def forge(folder: Path) -> None:
        parts = list(folder.parts[-3:])
        root = folder.parents[2]
        parts[part] = name
        shutil.copytree(folder, root.joinpath(*parts))
        shutil.rmtree(folder)

    return forge


def misplaced(folder: Path) -> None:
    shutil.move(folder / "record.json", folder.parents[1] / "record.json")
    shutil.rmtree(folder)


def copied(folder: Path) -> Path:
    """The same record again on another day, as if someone else had repeated it."""
    other = folder.with_name(f"{folder.name}-by-somebody-else")
    shutil.copytree(folder, other)
    edit(other, "method.json", lambda method: method.update(submitted_by="Somebody Else"))
    edit(other, "record.json", lambda record: record["provenance"].update(date="2026-12-24T00:00:00+00:00"))
    return other


FORGERIES: dict[str, tuple[Forge, str]] = {
    "changed seconds": (one_record(changed_seconds), "s_per_im of retom is .* median of its raw seconds"),
    "faster than free": (faster_than_free, "faster than free is impossible: time all three again"),
    "too few timed": (
        one_record(lambda r: r["timing"]["batches"][0].update(seconds=[0.1], median=0.1)),
        "timed 1 images at batch 1; the protocol asks for 6",
    ),
    "weak bound": (one_record(weak_bound, "oracle.json"), "oracle.json leaves more tokens .* method.ratio=0.5"),
    "missing image": (lambda folder: first_image(folder).unlink(), "images/0001_000.png is missing"),
    "missing hash": (missing_hash, "images.sha256 lacks .*99 of 100 images have a hash"),
    "wrong hash": (wrong_hash, "images.sha256 is not of the images that the record was scored from"),
    "tampered image": (tampered_image, "images/0001_000.png is not the file that images.sha256 lists"),
    "another image": (another_image, "images/0001_004.png is not one of the 10 fixed images; remove it"),
    "linked image": (linked_image, "is a link; put the file itself in its place"),
    "other protocol": (
        every_record(other_protocol),
        r"nearest, tiny, differs in sampler.steps \(20, not 10\): run",
    ),
    "other baseline protocol": (one_record(other_protocol, "none.json"), "none.json is of another protocol or device"),
    "other device": (every_record(other_device), "device_name is 'NVIDIA H100', but its provenance names"),
    "other torch": (every_record(other_torch), "the folder names the environment .*, the record .*torch2.12.0"),
    "other torch of the baseline": (one_record(other_torch, "oracle.json"), "oracle.json is of the environment"),
    "wrong environment": (
        renamed(1, "nvidia-h100_torch2.15.0_cuda13.2_float16_sdpa"),
        "the folder names the environment nvidia-h100.*, the record amd-epyc.*; rename it",
    ),
    "wrong method folder": (renamed(0, "mine"), "the folder is named mine and the record is of method retom"),
    "wrong run folder": (renamed(2, "retom-0123456789ab"), "is named retom-0123456789ab .* of run retom-2f4efb4df32b"),
    "misplaced": (misplaced, "a submission's place is submissions/<method>/<environment>/<run>/"),
    "changed config": (
        one_record(lambda r: r["config"]["method"].update(ratio=0.75)),
        "record.pixel_hash is '2f4efb4df32b', but its config hashes to",
    ),
    "changed prompts": (one_record(other_prompts), "record.protocol.prompts_hash is not that of its config"),
    "unusable prompts": (
        one_record(lambda r: (r["config"].update(prompts={"n": 1}), r.update(pixel_hash=pixel_hash(r["config"])))),
        "record.config.prompts cannot be used",
    ),
    "duplicate": (copied, "it is the run of retom/.*/retom-2f4efb4df32b again; remove one of the two"),
    "broken schema": (
        one_record(lambda r: r["timing"].update(resumed="no")),
        "does not follow schema/record-1.json: timing.resumed: 'no' is not of type 'boolean'",
    ),
    "broken JSON": (lambda folder: (folder / "none.json").write_text("{"), "none.json is not readable JSON"),
    "NaN": (lambda folder: (folder / "none.json").write_text('{"a": NaN}'), "it holds NaN, and a number must be"),
    "no baseline": (lambda folder: (folder / "none.json").unlink(), "none.json is missing; pack the run again"),
    "foreign baseline": (
        lambda folder: shutil.copy(folder / "record.json", folder / "oracle.json"),
        "oracle.json is of method retom; pack the finished run of method=oracle",
    ),
    "better metric": (one_record(better_fid), "record.metrics.fid_smoke.value is .* none.json and the recorded"),
    "gate of the baseline": (
        one_record(lambda r: r["metrics"]["ssim"].update(value=0.9), "none.json"),
        "record.metrics.ssim.value is",
    ),
    "gate of merging": (one_record(merging_nothing), "gate merges failed: .*; run these rows again"),
    "unfinished": (
        one_record(lambda r: r.update(status="failed", error={"sentence": "no", "traceback": "no"})),
        "record.json is of a run that is failed",
    ),
    "another method": (
        one_record(lambda m: m.update(target="baselines.toma.ToMA"), "method.json"),
        "method.json is of baselines.toma.ToMA and the record of retom.ReToM",
    ),
    "contact in two lines": (
        one_record(lambda m: m.update(contact="a\nb"), "method.json"),
        "method.json does not follow schema/method-1.json: contact",
    ),
    "stray file": (lambda folder: (folder / "notes.txt").write_text("x"), "notes.txt does not belong in a submission"),
    "stray folder": (lambda folder: (folder / "more").mkdir(), "more/ does not belong in a submission"),
    "too large": (
        lambda folder: (folder / "images.sha256").write_bytes(b"0" * (LIMIT + 1)),
        "it has 20.* MB; at most 20 MB are allowed",
    ),
}

"""A submission's images generated again with this code, and compared: what the badge "verified" stands for."""

import datetime
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from eval.atomic import write_json
from eval.decoding import decode, read_file
from eval.errors import RunError
from eval.generation.generate import generate
from eval.generation.images import verify
from eval.generation.prompts import PromptItem
from eval.generation.sampler import SamplerConfig
from eval.generation.shards import batches
from eval.metrics.ssim import ssim
from eval.provenance import device_name
from eval.run.row import Row
from eval.submissions.badges import CLOSE, CLOSE_SHARE, holds
from eval.submissions.checks import Rules, check_submission
from eval.submissions.layout import IMAGES, VERIFIED, fixed_images
from scripts.command_line.entry import say
from scripts.finished.recorded import recorded
from scripts.jobs.patching import applied
from scripts.jobs.session import Session


def verify_submission(name: str, root: Path, rules: Rules, config: Mapping, session: Session) -> int:
    """Generate the images of submission `name` again; verified.json where they agree. Returns 1 where they do not."""
    if not config["by"]:
        raise RunError("verify needs by=NAME: who generates the images again")
    if not (root / name / "record.json").is_file() or len(Path(name).parts) != 3:
        raise RunError(f"there is no submission {name} in {root}; name one as <method>/<environment>/<run>")
    submission = check_submission(root / name, root, rules).submission
    run = recorded(submission.record, Path(config["results"]), config["trusted"])
    with tempfile.TemporaryDirectory() as folder:
        shown = set(fixed_images([item.file for item in run.items]))
        regenerate(run.row, run.items, shown, Path(folder), session)
        found = compare(submission.folder / IMAGES, Path(folder), sorted(shown))
    report = {
        "by": config["by"],
        "date": datetime.date.today().isoformat(),
        "device_name": device_name(run.row.sampler.device),
        **found,
    }
    outcome = (
        f"{found['equal']} of {found['images']} images have the same pixels, {found['close']} are within {CLOSE} of "
        f"255, least SSIM {found['least_ssim']:.3f}"
    )
    if not holds(report):
        say(f"{name}: NOT verified: {outcome}; {CLOSE_SHARE:.0%} must be within {CLOSE}")
        return 1
    write_json(submission.folder / VERIFIED, report)
    say(f"{name}: verified: {outcome}")
    return 0


def regenerate(row: Row, items: Sequence[PromptItem], shown: set[str], folder: Path, session: Session) -> None:
    """Write the images named `shown` into `folder`, with the whole batches they are of where images depend on those."""
    with applied(session.pipeline(row.model, row.sampler), row.method, row.backend) as on_pipe:
        sampler = on_pipe.sampling(row.sampler)
        wanted = _to_generate(items, shown, sampler)
        pipe = session.pipeline(row.model, row.sampler)
        generate(pipe, wanted, folder, sampler, before_batch=on_pipe.set_seeds, progress=session.progress)
        on_pipe.check(row.name)
    check = verify(wanted, folder, sampler.size)
    if not check.complete:
        raise RunError(f"images could not be generated: {', '.join([*check.missing, *check.broken])}")


def compare(submitted: Path, again: Path, names: Sequence[str]) -> dict:
    """How many images have the same pixels and close ones, the largest difference of a value, the least SSIM."""
    differences, similarities = [], []
    for name in names:
        one, other = (np.asarray(decode(read_file(folder / name), name)) for folder in (submitted, again))
        if one.shape != other.shape:
            raise RunError(f"{name} has the size {one.shape[:2]} and should have {other.shape[:2]}; it was replaced")
        differences.append(int(np.abs(one.astype(int) - other.astype(int)).max()))
        similarities.append(ssim(*(torch.from_numpy(each.transpose(2, 0, 1) / 255).float() for each in (one, other))))
    return {
        "images": len(names),
        "equal": differences.count(0),
        "close": sum(difference <= CLOSE for difference in differences),
        "largest_difference": max(differences),
        "least_ssim": min(similarities),
    }


def _to_generate(items: Sequence[PromptItem], shown: set[str], sampler: SamplerConfig) -> list[PromptItem]:
    if not sampler.images_depend_on_batch:
        return [item for item in items if item.file in shown]
    parts = batches(items, sampler.batch_size)
    return [item for part in parts if shown & {each.file for each in part} for item in part]

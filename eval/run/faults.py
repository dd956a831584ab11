"""What is wrong with a row that this machine can tell at once: device, local files, space for the images."""

from collections.abc import Callable, Sequence
from pathlib import Path

from eval.devices import check_device
from eval.errors import RunError
from eval.generation.pipelines import local_folder
from eval.generation.prompts import ImageClass, PromptItem
from eval.records import has_record
from eval.reference import ReferenceConfig, ReferenceSet
from eval.run.needs import messages_of, reference_is_to_fetch, weight_files
from eval.run.row import Row

LoadReference = Callable[[ReferenceConfig, Sequence[ImageClass], Path], ReferenceSet]


def faults(row: Row) -> list[str]:
    """Problems found immediately: device, local files, space for the images."""
    checks = (_device, _own_weights, _own_model, _own_reference, _space)
    return [message for check in checks for message in messages_of(check, row)]


def require(messages: Sequence[str]) -> None:
    """RunError that contains all `messages`, if there are any."""
    if len(messages) == 1:
        raise RunError(messages[0])
    if messages:
        listed = " ".join(f"({number}) {message}" for number, message in enumerate(messages, 1))
        raise RunError(f"{len(messages)} things are missing: {listed}")


def reference_faults(row: Row, load: LoadReference, cache: Path) -> list[str]:
    """What is wrong with a reference that is on this machine. cache: where it may be unpacked to."""

    from eval.metrics.profiles import check_reference  # heavy

    def check(row: Row) -> None:
        if row.metrics.profile != "none" and not reference_is_to_fetch(row):
            check_reference(load(row.reference, row.prompts.selected(), cache), row.metrics)

    return messages_of(check, row)


def _device(row: Row) -> None:
    check_device(row.sampler.device)


def _own_weights(row: Row) -> list[str]:
    files = list(dict.fromkeys(weight_files(row.metrics)))
    if not files:
        row.metrics.preflight()  # networks that need no file, or ship with this project
    own = [file.path for file in files if file.path is not None and not file.is_here()]
    return [f"the weights {path} of a metric do not exist" for path in own]


def _own_model(row: Row) -> None:
    local_folder(row.model)


def _own_reference(row: Row) -> list[str]:
    chosen, found = row.reference, []
    if row.metrics.profile == "none":
        return found
    if chosen.kind == "folder" and not Path(chosen.path).expanduser().is_dir():
        found.append(f"reference folder {chosen.path} does not exist or is not a folder; set it to a folder of images")
    if chosen.kind == "parquet" and not Path(chosen.path).expanduser().exists():
        found.append(f"reference {chosen.path} is neither a parquet file nor a folder with parquet files")
    for name in ("labels", "synsets"):
        value = getattr(chosen, name)
        if value is not None and not Path(value).expanduser().is_file():
            found.append(f"reference.{name}={value} is not a file; set it to the one of the ImageNet devkit")
    return found


def _space(row: Row) -> None:
    if not has_record(row.folder):
        require_image_space(row, row.prompts.items())


def require_image_space(row: Row, items: Sequence[PromptItem]) -> None:
    """RunError if the disk has no room for the missing images of `items`.

    An upper bound is used: a PNG of noise is about as large as its pixels.
    """
    absent = sum(not (row.folder.images / item.file).exists() for item in items)
    row.folder.require_space(absent * row.sampler.height * row.sampler.width * 3)

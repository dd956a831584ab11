"""The finished runs that a row is compared with: the baseline and ToMeSD, all else being equal."""

from eval.decoding import ImageSet, ScoredImage
from eval.errors import RunError
from eval.generation.prompts import PromptItem
from eval.records import BASELINE, RunFolder, load_records, run_id
from eval.records.canonical import pixel_options
from eval.run.row import Row

COMPARED_WITH = {BASELINE: (), "tomesd": (BASELINE,)}
ALL = (BASELINE, "tomesd")
PIXELS_BESIDE_METHOD = ("model", "sampler", "backend", "prompts")


def siblings(row: Row) -> dict[str, dict]:
    """Records by name ("none", "tomesd") of finished runs with the same pixel options except for the method.

    If a sweep left several runs of ToMeSD, the one with this row's ratio is used, else the only one.
    """
    finished = [record for record in load_records(row.results / "runs", row.runs) if record["status"] != "failed"]
    fitting = [record for record in finished if _without_method(record["config"]) == _without_method(row.config)]
    found = {}
    for name in COMPARED_WITH.get(row.name, ALL):
        named = [record for record in fitting if record["method"] == name]
        same = [r for r in named if r["config"]["method"].get("ratio") == row.config["method"].get("ratio")]
        if len(same or named) == 1:
            found[name] = (same or named)[0]
    return found


def image_set(folder: RunFolder, items: list[PromptItem]) -> ImageSet:
    """The images of a run in the order of its items. RunError if one is missing."""
    images = [ScoredImage(item.key, item.class_index, item.prompt, folder.images / item.file) for item in items]
    absent = [image for image in images if not image.path.is_file()]
    if absent:
        raise RunError(
            f"run {folder.run_id} is finished but {len(absent)} of its {len(images)} images are missing "
            f"(first: {absent[0].path}); run it again"
        )
    return ImageSet(tuple(images))


def sibling_images(row: Row, record: dict, items: list[PromptItem]) -> ImageSet:
    """The images of a run found by `siblings`."""
    return image_set(RunFolder.of(record, row.results / "runs"), items)


def compared_with(name: str, own: ImageSet, others: dict[str, ImageSet]) -> dict[str, ImageSet]:
    """The image sets that run `name` (with the images `own`) is scored against. The baseline is also compared with
    itself, since a gate checks that its SSIM is exactly 1."""
    return others | ({BASELINE: own} if name == BASELINE else {})


def names(records: dict[str, dict]) -> dict[str, str]:
    """Run ids by name, stored in a record for the runs that it was compared with."""
    return {name: run_id(record) for name, record in records.items()}


def image_hashes(records: dict[str, dict]) -> dict[str, str | None]:
    """By name the hash of the images that a row was compared with: if they change, it is compared again."""
    return {name: record["images"].get("sha256") for name, record in records.items()}


def _without_method(config: dict) -> dict:
    chosen = {key: config[key] for key in PIXELS_BESIDE_METHOD}
    return chosen | {"sampler": pixel_options(config["sampler"])}

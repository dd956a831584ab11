"""The images of a run: ImageNet classes, their names, the prompts and one seed per image.

Class order and wnids come from timm's packaged synset list, names from open_clip's copy of OpenAI's cleaned list
or from timm's WordNet lemmas. Nothing is downloaded.
"""

import dataclasses
import difflib
import functools
import hashlib
import json
import re
from collections.abc import Iterable

from eval.checks import check_integer, packaged_file

NUM_CLASSES = 1000
NAME_LISTS = ("openai", "wordnet")

# torch's CPU generator (mt19937) reads only the low 32 bits of its seed, so a wider packing would give different images
# equal noise. 12 bits of run seed, 10 of class (1,000 < 1,024), 10 of image index fill exactly those 32 bits.
RUN_SEEDS, CLASS_BITS, INDEX_BITS = 4096, 10, 10
MAX_IMAGES_PER_CLASS = 1000  # three digits in the file name, below 2 ** INDEX_BITS


@dataclasses.dataclass(frozen=True)
class ImageClass:
    """One ImageNet-1k class: its index in the usual order, its WordNet id and its name in prompts."""

    index: int
    wnid: str
    name: str


@dataclasses.dataclass(frozen=True)
class PromptItem:
    """One image to generate. `key` is unique in a run; `file` is its name inside the run's `images/` folder."""

    key: str
    class_index: int
    wnid: str
    class_name: str
    image_index: int
    prompt: str
    seed: int
    file: str

    def row(self) -> dict:
        """The line of `manifest.jsonl` for this image."""
        return dataclasses.asdict(self)


def image_seed(run_seed: int, class_index: int, image_index: int) -> int:
    """Pack the three numbers into one seed in [0, 2**32). No two triples share a seed. ValueError out of range."""
    for name, value, limit in (
        ("seed", run_seed, RUN_SEEDS),
        ("class_index", class_index, NUM_CLASSES),
        ("image_index", image_index, MAX_IMAGES_PER_CLASS),
    ):
        if not 0 <= value < limit:
            raise ValueError(f"{name} must be an integer in [0, {limit - 1}], got {value!r}")
    return (run_seed << (CLASS_BITS + INDEX_BITS)) | (class_index << INDEX_BITS) | image_index


@functools.cache
def imagenet_classes(names: str = "openai") -> tuple[ImageClass, ...]:
    """All 1,000 classes in ImageNet-1k order. `names`: "openai" (cleaned, one name) or "wordnet" (all synonyms)."""
    if names not in NAME_LISTS:
        raise ValueError(f"names must be one of {', '.join(NAME_LISTS)}, got {names!r}")
    from timm.data import ImageNetInfo  # slow to import, and only needed for prompts

    info = ImageNetInfo("imagenet-1k")
    wnids = info.label_names()
    if names == "wordnet":
        labels = info.label_descriptions()
    else:
        from open_clip import IMAGENET_CLASSNAMES

        labels = IMAGENET_CLASSNAMES
    return tuple(ImageClass(i, wnid, label) for i, (wnid, label) in enumerate(zip(wnids, labels, strict=True)))


@dataclasses.dataclass(frozen=True)
class PromptSet:
    """The prompts of a run: `images_per_class` images of each chosen class.

    template: text with `{class}` in place of the name. names: "openai" | "wordnet".
    classes: None (all 1,000), an int n (n classes spread evenly over the 1,000) or a list of wnids (sorted into
    ImageNet order). seed: the run's seed, 0 to 4,095.
    """

    template: str = "A high quality photograph of a {class}."
    names: str = "openai"
    images_per_class: int = 2
    classes: int | tuple[str, ...] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.classes, list | tuple):
            object.__setattr__(self, "classes", tuple(self.classes))
        _check_template(self.template)
        if self.names not in NAME_LISTS:
            raise ValueError(f"names must be one of {', '.join(NAME_LISTS)}, got {self.names!r}")
        check_integer("images_per_class", self.images_per_class, 1, MAX_IMAGES_PER_CLASS)
        check_integer("seed", self.seed, 0, RUN_SEEDS - 1)
        self._check_classes()

    def _check_classes(self) -> None:
        if self.classes is None:
            return
        if not isinstance(self.classes, int | tuple):
            raise ValueError(f"classes must be null, a number or a list of wnids, got {self.classes!r}")
        if isinstance(self.classes, int):
            check_integer("classes", self.classes, 1, NUM_CLASSES)
        else:
            _check_wnids(self.classes)

    def selected(self) -> list[ImageClass]:
        """The chosen classes in ImageNet order."""
        known = imagenet_classes(self.names)
        if self.classes is None:
            return list(known)
        if isinstance(self.classes, int):
            return [known[i * NUM_CLASSES // self.classes] for i in range(self.classes)]
        wanted = set(self.classes)
        return [chosen for chosen in known if chosen.wnid in wanted]

    def items(self) -> list[PromptItem]:
        """Every image of the run, ordered by class and index."""
        return [self._item(chosen, i) for chosen in self.selected() for i in range(self.images_per_class)]

    def _item(self, chosen: ImageClass, image_index: int) -> PromptItem:
        key = f"{chosen.index:04d}_{image_index:03d}"
        return PromptItem(
            key=key,
            class_index=chosen.index,
            wnid=chosen.wnid,
            class_name=chosen.name,
            image_index=image_index,
            prompt=self.template.replace("{class}", chosen.name),
            seed=image_seed(self.seed, chosen.index, image_index),
            file=f"{key}.png",
        )

    @property
    def hash(self) -> str:
        """sha256 (hex) over every row of the manifest: it depends on every prompt, seed and file name."""
        rows = json.dumps([item.row() for item in self.items()], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(rows.encode("utf-8")).hexdigest()


def _check_template(template: object) -> None:
    if not isinstance(template, str) or "{class}" not in template:
        raise ValueError(f"template must contain {{class}}, got {template!r}")
    others = [field for field in re.findall(r"\{([^{}]*)\}", template) if field != "class"]
    if others:
        raise ValueError(f"template may contain the field {{class}} only, got {{{others[0]}}} in {template!r}")


def _check_wnids(wnids: Iterable[str]) -> None:
    wnids = list(wnids)
    if not wnids:
        raise ValueError("classes must name at least one wnid, got an empty list")
    known = packaged_file("timm", "data/_info/imagenet_synsets.txt").read_text(encoding="utf-8").split()
    seen: set[str] = set()
    for wnid in wnids:
        if wnid not in known:
            nearest = difflib.get_close_matches(str(wnid), known, n=1, cutoff=0.0)[0]
            raise ValueError(f"classes: unknown wnid {wnid!r}, the nearest ImageNet-1k class is {nearest}")
        if wnid in seen:
            raise ValueError(f"classes must name each wnid once, got {wnid} twice")
        seen.add(wnid)

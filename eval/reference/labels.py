"""Labels of a flat ImageNet validation folder: the class of each image.

Accepted:
* the devkit's `ILSVRC2012_validation_ground_truth.txt` (line k = the class of ILSVRC2012_val_<k>, in the devkit's own
  ids 1..1000, not the usual 0..999) with its synset list: the devkit's `meta.mat`, a text file whose line i starts
  with the wnid of id i (`map_clsloc.txt`, or bare wnids), or lines `id wnid`;
* a table `name,wnid` or `name wnid` (CSV or text). More words after the wnid, as in Kaggle's `LOC_val_solution.csv`,
  and a header line are allowed. The name may omit its extension.
"""

import re
from pathlib import Path

from eval.errors import RunError

CLASSES = 1000
_WNID = re.compile(r"^n\d{8}$")
_NUMBER = re.compile(r"(\d{8})(?!.*\d{8})")


def read_labels(labels: Path, synsets: Path | None, names: list[str]) -> dict[str, str]:
    """wnid of each of the image `names`. RunError if the files do not contain all of them."""
    lines = [line.split() for line in _lines(labels)]
    if all(len(words) == 1 and words[0].isdigit() for words in lines):
        return _from_ground_truth(labels, [int(words[0]) for words in lines], synsets, names)
    return _from_table(labels, names)


def _lines(path: Path) -> list[str]:
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"labels file {path} cannot be read as text: {error}") from error
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise RunError(f"labels file {path} is empty")
    return lines


def _from_table(path: Path, names: list[str]) -> dict[str, str]:
    table: dict[str, str] = {}
    for line in _lines(path):
        words = line.replace(",", " ").replace(";", " ").split()
        if len(words) >= 2 and _WNID.match(words[1]):
            table[Path(words[0]).name] = words[1]
    found = {name: table.get(name) or table.get(Path(name).stem) for name in names}
    missing = [name for name, wnid in found.items() if wnid is None]
    if missing:
        raise RunError(
            f"labels file {path} has no class for {len(missing)} of {len(names)} images (first: {missing[0]}); "
            "expected lines 'name,wnid', or the devkit's ground truth with one number per line"
        )
    return found


def _from_ground_truth(path: Path, ids: list[int], synsets: Path | None, names: list[str]) -> dict[str, str]:
    if synsets is None:
        raise RunError(f"labels file {path} contains the devkit's own ids; add its synset list (reference.synsets)")
    wnids = read_synsets(synsets)
    found = {}
    for name in names:
        match = _NUMBER.search(name)
        number = int(match.group(1)) if match else 0
        if not 1 <= number <= len(ids):
            raise RunError(f"image {name} has no line in {path} ({len(ids)} lines; names end in their line's number)")
        if ids[number - 1] not in wnids:
            raise RunError(f"labels file {path}, line {number}: id {ids[number - 1]} is not in {synsets}")
        found[name] = wnids[ids[number - 1]]
    return found


def read_synsets(path: Path) -> dict[int, str]:
    """wnid of each devkit id, from `meta.mat` or a text file. RunError if the file has none."""
    table = _synsets_of_matlab(path) if Path(path).suffix == ".mat" else _synsets_of_text(path)
    if not table:
        raise RunError(f"synset list {path} has no line with a wnid such as n01440764")
    in_order = [table[number] for number in sorted(table)]
    if len(in_order) == CLASSES and in_order == sorted(in_order):  # such as Kaggle's LOC_synset_mapping.txt
        raise RunError(
            f"synset list {path} is sorted by wnid, unlike the devkit's ids; use the devkit's meta.mat, or a list of "
            "its ids with their wnids"
        )
    return table


def _synsets_of_text(path: Path) -> dict[int, str]:
    table: dict[int, str] = {}
    for position, line in enumerate(_lines(path), start=1):
        words = line.replace(",", " ").split()
        if _WNID.match(words[0]):
            table[int(words[1]) if len(words) > 1 and words[1].isdigit() else position] = words[0]
        elif len(words) > 1 and words[0].isdigit() and _WNID.match(words[1]):
            table[int(words[0])] = words[1]
    return table


def _synsets_of_matlab(path: Path) -> dict[int, str]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        synsets = loadmat(path, squeeze_me=True)["synsets"]
        # Classes with children are inner nodes of WordNet. Their ids, above 1000, label no image.
        return {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets if int(row["num_children"]) == 0}
    except (OSError, ValueError, LookupError, TypeError, MatReadError) as error:
        raise RunError(f"synset list {path} is not the devkit's meta.mat: {error}") from error

"""The shipped tiny model is whole: its card's hashes are its files', it keeps to the limits, its reference fits."""

import re

from safetensors import safe_open

from eval.assets import ASSETS
from eval.downloads.digests import file_sha256
from training.publishing import export

SHIPPED = ASSETS / "tiny"


def test_the_card_names_every_shipped_file_with_its_hash_and_size():
    text = (SHIPPED / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([^`]+)` \| (\d+) \| `([0-9a-f]{64})` \|$", text, re.MULTILINE)
    found = [
        (path.relative_to(SHIPPED).as_posix(), str(path.stat().st_size), file_sha256(path))
        for path in export.files(SHIPPED)
    ]
    assert listed == found


def test_the_shipped_files_keep_to_the_limits():
    export.check_sizes(SHIPPED)
    assert (SHIPPED / "sheet.png").stat().st_size < 500_000


def test_the_shipped_reference_is_of_the_shipped_classifier():
    with safe_open(SHIPPED / "reference.safetensors", "pt") as stored:
        assert stored.metadata()["classifier_sha256"] == file_sha256(SHIPPED / "classifier" / "model.safetensors")
        assert stored.get_tensor("features").shape[0] == int(stored.metadata()["n"]) == 1000

import numpy as np
import pytest
from scipy.io import savemat

from eval.errors import RunError
from eval.reference.labels import read_labels, read_synsets

NAMES = ["ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00000003.JPEG"]


@pytest.fixture
def truth(tmp_path):
    path = tmp_path / "ILSVRC2012_validation_ground_truth.txt"
    path.write_text("2\n1\n1\n")
    return path


def _synsets(tmp_path, text, name="synsets.txt"):
    path = tmp_path / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "n01440764\nn01443537\n",
        "n01440764 1 tench\nn01443537 2 goldfish\n",
        "2 n01443537\n1 n01440764\n",
    ],
)
def test_ground_truth_goes_by_the_number_in_the_name(tmp_path, truth, text):
    found = read_labels(truth, _synsets(tmp_path, text), NAMES)
    assert found == {NAMES[0]: "n01443537", NAMES[1]: "n01440764"}


def test_the_devkits_matlab_file(tmp_path):
    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    rows = [(1, "n01440764", "tench", 0), (2, "n01443537", "goldfish", 0), (1001, "n02512053", "fish", 2)]
    savemat(tmp_path / "meta.mat", {"synsets": np.array(rows, dtype=kinds)})
    assert read_synsets(tmp_path / "meta.mat") == {1: "n01440764", 2: "n01443537"}


@pytest.mark.parametrize("line", ["{name},{wnid}", "{name} {wnid}", "{stem},{wnid} 85 1 499 272", "val/{name};{wnid}"])
def test_tables(tmp_path, line):
    path = tmp_path / "labels.txt"
    lines = [line.format(name=name, stem=name[:-5], wnid="n01440764") for name in NAMES]
    path.write_text("\n".join(["name,wnid", *lines]))
    assert read_labels(path, None, NAMES) == dict.fromkeys(NAMES, "n01440764")


def test_what_is_missing_is_said(tmp_path, truth):
    with pytest.raises(RunError, match="add its synset list"):
        read_labels(truth, None, NAMES)
    with pytest.raises(RunError, match=r"00000009\.JPEG has no line in .* \(3 lines"):
        read_labels(truth, _synsets(tmp_path, "n01440764\nn01443537\n"), ["ILSVRC2012_val_00000009.JPEG"])
    with pytest.raises(RunError, match="line 1: id 2 is not in"):
        read_labels(truth, _synsets(tmp_path, "n01440764\n"), NAMES)
    table = _synsets(tmp_path, f"{NAMES[0]} n01440764\n", "table.txt")
    with pytest.raises(RunError, match="has no class for 1 of 2 images"):
        read_labels(table, None, NAMES)
    with pytest.raises(RunError, match="cannot be read"):
        read_labels(tmp_path / "gone.txt", None, NAMES)
    in_order = "".join(f"n{number:08d} a name, another\n" for number in range(1000))
    with pytest.raises(RunError, match=r"is sorted by wnid, unlike the devkit's ids"):
        read_labels(truth, _synsets(tmp_path, in_order, "LOC_synset_mapping.txt"), NAMES)
    with pytest.raises(RunError, match="is empty"):
        read_labels(_synsets(tmp_path, "\n", "empty.txt"), None, NAMES)
    with pytest.raises(RunError, match=r"is not the devkit's meta\.mat"):
        read_synsets(_synsets(tmp_path, "no matlab file", "bad.mat"))

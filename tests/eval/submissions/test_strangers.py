"""A stranger's record, whatever is in it, is accepted or refused in one line: it never ends the check."""

import copy
import json
import random
import shutil
from pathlib import Path

from eval.errors import RunError
from eval.submissions.checks import Rules, check_submission
from eval.submissions.protocols import read_published
from tests.eval.submissions.test_schema import OTHER, changed, places

ROOT = Path(__file__).parents[3]
TRIALS = 250


def test_no_change_of_a_record_raises_anything_else(tmp_path: Path) -> None:
    (source,) = (ROOT / "submissions").glob("retom/*/*")
    folder = tmp_path.joinpath(*source.parts[-3:])
    shutil.copytree(source, folder)
    rules = Rules(read_published(ROOT / "submissions"), [], ROOT, lambda commit: None)
    draws, refused, several = random.Random(0), 0, 0
    originals = {name: json.loads((source / name).read_text()) for name in ("record.json", "none.json", "method.json")}
    check_submission(folder, tmp_path, rules)
    for _ in range(TRIALS):
        name = draws.choice([*originals])
        original = originals[name]
        value = draws.choice([(), *((copy.deepcopy(other),) for other in OTHER)])
        (folder / name).write_text(json.dumps(changed(original, draws.choice([*places(original)]), *value)))
        try:
            check_submission(folder, tmp_path, rules)
        except RunError as error:
            refused += "\n" not in str(error)
            several += "\n" in str(error)
        (folder / name).write_text(json.dumps(original))
    assert refused > TRIALS / 4
    assert several == 0

"""How much images depend on their batch.

The images of each row are generated one per call and in batches of `sampler.batch_size`, and compared one by one. In
float32, scored rows that merge are generated one image per call; the command ignores that, to measure why.
docs/methods.md has the results.

Examples:
    python -m scripts.independence model=tiny method=toma sampler.batch_size=4
"""

import sys

from omegaconf import DictConfig

from eval.devices import check_device
from scripts.command_line.entry import work_on_each
from scripts.jobs.row import read_row
from scripts.jobs.session import Session


def main() -> int:
    """Measure every row and print one line of a Markdown table for each. Returns the exit status."""
    session, headed = Session(), []

    def work(composed: DictConfig, choices: dict[str, str]) -> None:
        row = read_row(composed, choices)
        check_device(row.sampler.device)
        from scripts.jobs.patching import check_served
        from scripts.studies.independence import COLUMNS, arithmetic, independence

        check_served(row)
        session.join(row.sampler.device)
        if not headed:
            headed.append(f"{arithmetic(row)}\n\n| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}")
            print(headed[0], flush=True)
        found = independence(row, session)
        numbers = (found.images, found.moved, found.beyond, found.levels, f"{found.largest:.1e}")
        cells = (row.name, row.method.batch_limit or "", row.sampler.batch_size, *numbers)
        print(f"| {' | '.join(map(str, cells))} |", flush=True)

    return work_on_each(work)


if __name__ == "__main__":
    sys.exit(main())

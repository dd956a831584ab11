"""Whether damage grows with the ratio: compares the finished runs of a sweep pair by pair.

Writes results/<table>_differences.csv and .md. The exit status is 0 when the runs were found, whether or not the
outcome is the expected one.

Examples:
    python -m scripts.damage experiment=damage
"""

import sys

from omegaconf import DictConfig

from scripts.command_line.entry import say, work_on_each
from scripts.jobs.row import read_row


def main() -> int:
    """Compare, write and print a summary. Returns the exit status."""

    def work(composed: DictConfig, choices: dict[str, str]) -> None:
        row = read_row(composed, choices)
        from scripts.studies.damage import Comparison

        for path in Comparison(row).write():
            say(f"written: {path}")

    return work_on_each(work)


if __name__ == "__main__":
    sys.exit(main())

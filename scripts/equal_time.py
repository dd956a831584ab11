"""Step count of plain sampling at equal cost.

Plain sampling is timed at all steps and at half of them, and the method in between. Time is linear in steps, which
yields the number of steps; that number is timed as well. The share is saved in results/equal_time.json and read from
there by `method=fewer_steps`, whose `share` names the method.

Examples:
    python -m scripts.equal_time method=retom model=sd15
"""

import sys

from omegaconf import DictConfig

from scripts.command_line.entry import say, work_on_each
from scripts.jobs.measured import keep_finding
from scripts.jobs.row import read_row
from scripts.jobs.session import Session


def main() -> int:
    """Measure and print. Returns the exit status."""

    def work(composed: DictConfig, choices: dict[str, str]) -> None:
        row, session = read_row(composed, choices), Session()
        from scripts.studies.equal_time import equal_time, summary

        session.join(row.sampler.device)
        found = equal_time(row, session)
        print(f"method.share={found.share}", flush=True)
        path = keep_finding(row.results, row.name, row.config, found.facts)
        say(summary(row.name, found))
        say(f"written: {path}")

    return work_on_each(work)


if __name__ == "__main__":
    sys.exit(main())

"""How stale a reused plan is; results/staleness_<name>.csv.

ReToM runs with its period, but also measures at every step and counts the windows whose representative would now be
another token. Images are generated with the plan in force, not with the new one.

Examples:
    python -m scripts.staleness model=tiny prompts.images_per_class=1
"""

import sys

from omegaconf import DictConfig

from scripts.command_line.entry import say
from scripts.command_line.sweeps import Part, work_on_sweep
from scripts.jobs.row import read_row
from scripts.jobs.session import Session


def main() -> int:
    """Measure, write, report. Returns the exit status."""

    def work(composed: DictConfig, choices: dict[str, str], part: Part) -> None:
        row, session = read_row(composed, choices), Session()
        from eval.report.studies.staleness import write_staleness
        from scripts.studies.staleness import measured

        session.join(row.sampler.device)
        found, folder = measured(row, session)
        paths = write_staleness(found, folder)
        print(found.table.groupby(["age", "layer_type"])["share"].mean().unstack().to_string(), flush=True)
        say(f"written: {', '.join(map(str, paths))}")

    return work_on_sweep(work, one_method=True)


if __name__ == "__main__":
    sys.exit(main())

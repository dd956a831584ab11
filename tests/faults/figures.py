"""Sum up what `make faults` tried: `python -m tests.faults.figures LINES PAGE` writes the table of reliability.md."""

import collections
import datetime
import json
import os
import statistics
import sys
from pathlib import Path

from eval.atomic import write_text
from eval.provenance import cpu, git_state

ROOT = Path(__file__).parents[2]
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"
HEAD = "| Fault | Tried | Survived | Median seconds to recover | Longest |\n|---|---:|---:|---:|---:|"
RANDOM = "kill -9 at a random moment"


def table(entries: list[dict]) -> str:
    """Markdown from the lines that the tests noted, a row for each kind and one for all."""
    kinds: dict[str, list[dict]] = {}
    for entry in entries:
        kinds.setdefault(entry["kind"], []).append(entry)
    rows = [_row(kind, kinds[kind]) for kind in sorted(kinds)]
    found = collections.Counter(entry["detail"] for entry in kinds.get(RANDOM, []))
    places = ", ".join(f"{place} {count}" for place, count in found.most_common())
    parts = [HEAD + "\n" + "\n".join([*rows, _row("all", entries)])]
    if places:
        parts.append(f"What the random kills interrupted: {places}.")
    machine, git = cpu(), git_state(ROOT)
    parts.append(
        f"Measured on {datetime.datetime.now(datetime.UTC):%Y-%m-%d} by `make faults` on "
        f"{machine['model'] or 'a CPU'}, {machine['usable_cores']} cores, "
        f"load average {os.getloadavg()[1]:.1f} at the end, at commit "
        f"{(git['sha'] or 'unknown')[:12]}{' with changes' if git['dirty'] else ''}."
    )
    return "\n\n".join(parts)


def replace(page: str, text: str) -> str:
    """`page` with `text` between the markers. ValueError: they are not there, once each and in order."""
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise ValueError(f"the page must hold {BEGIN} and {END} once each, in this order")
    return page[: page.index(BEGIN)] + f"{BEGIN}\n{text}\n" + page[page.index(END) :]


def _row(kind: str, entries: list[dict]) -> str:
    seconds = [entry["seconds"] for entry in entries if entry["seconds"] is not None]
    times = [f"{statistics.median(seconds):.1f}", f"{max(seconds):.1f}"] if seconds else ["", ""]
    survived = sum(entry["survived"] for entry in entries)
    return f"| {kind} | {len(entries)} | {survived} | {' | '.join(times)} |"


def main() -> int:
    """Write the figures; 1 where a trial was lost, or none was noted."""
    lines, page = Path(sys.argv[1]), Path(sys.argv[2])
    entries = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    entries.sort(key=lambda entry: entry["at"])
    if entries:
        write_text(page, replace(page.read_text(encoding="utf-8"), table(entries)))
    return int(not entries or not all(entry["survived"] for entry in entries))


if __name__ == "__main__":
    sys.exit(main())

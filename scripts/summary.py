"""What a run shows, at the end of a `make` target.

Prints the tables, the claims of claims.json, why a small model is not faster, what to run next, and the report's path.

Examples:
    python -m scripts.summary experiment=smoke
"""

import json
import sys
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from eval.judging.terminal import print_claims
from eval.records import load_records
from eval.tables import Table, build_table
from eval.tables.claims import OURS
from eval.tables.costs import SPEED_UP, largest_site
from eval.tables.formats import number
from eval.tables.grid import speed_up_mark
from eval.tables.terminal import print_table, terminal
from scripts.command_line.entry import say
from scripts.command_line.sweeps import Part, work_on_sweep
from scripts.finished.fitting import fitting
from scripts.jobs.row import resolve
from scripts.tables import table_folder, table_options, table_specs

# Below this many tokens attention is a small part of a denoiser call (docs/performance.md, "What limits each cell").
FEW_TOKENS = 1024
FASTER = 1.05  # a speed-up that needs no explanation
NEXT = {
    "smoke": (
        ("make bench", "what merging costs and saves at 512 px: 15 minutes on a CPU"),
        ("make table1", "Table I with Stable Diffusion 1.5 on a GPU: docs/gpu.md"),
    ),
    "real": (
        ("make table2", "Table II, which shares finished rows with Table I"),
        ("make bench ARGS=bench=cuda", "what merging costs and saves on this GPU"),
    ),
}


def main() -> int:
    """Print the summary of each part of the command line's sweep. Returns the exit status."""
    return work_on_sweep(_summarise)


def _summarise(composed: DictConfig, choices: dict[str, str], part: Part) -> int:
    config = resolve(composed)
    # Records that cannot be read have been reported by scripts.tables.
    loaded = load_records(Path(config["results"]) / "runs", config["runs"], warn=lambda warning: None)
    specs, records = table_specs(config, loaded), fitting(loaded, config)
    tables = [build_table(spec, records, **table_options(config)) for spec in specs]
    console, folder = terminal(), table_folder(config, tables[0].profile) / part.folder
    for table in tables:
        console.print()
        print_table(table, console)
    _print_claims(folder / "claims.json", console)
    for table in tables:
        _explain_speed(table, console)
    _print_next(tables[0].profile, console)
    report = folder / "report.html"
    where = f"Report: {report}" if report.is_file() else f"There is no {report}; make report writes it"
    console.print(f"\n{where}", soft_wrap=True)
    return 0


def _print_claims(path: Path, console: Console) -> None:
    console.print()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["claims"]
    except FileNotFoundError:
        console.print("The paper's claims: not checked yet, run make claims")
    except (ValueError, KeyError) as error:
        say(f"{path} cannot be read ({error}); make claims writes it again")
    else:
        print_claims(found, console)


def _explain_speed(table: Table, console: Console) -> None:
    """Why ReToM is not faster than the baseline, where its model is too small for merging to pay."""
    line = table.line(OURS)
    faster = None if line is None else line.cells.get(SPEED_UP)
    tokens = None if faster is None else largest_site(line.record)
    if tokens is None or tokens >= FEW_TOKENS or faster > FASTER:
        return
    shown = number(SPEED_UP, faster) + speed_up_mark(table, line)
    console.print(
        f"\nWhy no speed-up ({shown})? Attention runs on at most {tokens} tokens in this model, a "
        "small part of the time per image. Merging pays at 4,096 (512 px): make bench measures it, docs/performance.md."
    )


def _print_next(profile: str, console: Console) -> None:
    console.print("\nNext", style="bold")
    for command, purpose in NEXT.get(profile, NEXT["real"]):
        console.print(f"  {command:<26}  {purpose}")


if __name__ == "__main__":
    sys.exit(main())

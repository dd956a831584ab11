"""The paper's claims in the terminal: how many of each verdict, then one line each, those that are decided first."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from eval.judging.claim import CONTRADICTED, SUPPORTED, UNDECIDED
from eval.judging.verdicts import TICKS, counts, estimate

if TYPE_CHECKING:
    from rich.console import Console

STYLES = {SUPPORTED: "green", CONTRADICTED: "red", UNDECIDED: "dim"}


def print_claims(found: Sequence[Mapping], console: "Console") -> None:
    """Print the claims of claims.json with their paired differences."""
    from rich.table import Table as Grid
    from rich.text import Text

    console.print("The paper's claims", style="bold")
    grid = Grid.grid(padding=(0, 2, 0, 0))
    for wrapping in ({"no_wrap": True}, {}, {"no_wrap": True, "justify": "right"}):
        grid.add_column(**wrapping)
    for verdict, tick in TICKS.items():
        for claim in (claim for claim in found if claim["verdict"] == verdict):
            grid.add_row(Text(f"{tick} {verdict}", style=STYLES[verdict]), claim["text"], estimate(claim))
    console.print(grid)
    console.print(counts(found), style="dim")

"""``gnomon holdout``: what has been asked of held-out traffic, and what can still be."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..api import LEDGER, existing_ledger
from ._common import Exit, console, emit, folded, handled

if TYPE_CHECKING:
    from ..shadow.gates.holdout import Account


def register(app: typer.Typer) -> None:
    """Add ``holdout`` to the command line."""
    app.command("holdout")(handled(holdout))


def holdout(
    hook: Annotated[str, typer.Option(help="Only of this hook.")] = "",
    ledger: Annotated[Path, typer.Option(help="Ledger's file.")] = LEDGER,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Show openings of holdouts: how many, the error spent, how many candidates can still be judged.

    Exit codes: 0 every one can judge more, 2 bad input, 3 one is spent: newer traffic is required.
    """
    from ..shadow.gates.holdout import accounts

    with closing(existing_ledger(ledger)) as book:
        found = accounts(book, hook)
    emit([each.as_json() for each in found], as_json, lambda: _print(found))
    spent = any(each.more == 0 for each in found)
    raise typer.Exit(int(Exit.INCONCLUSIVE if spent else Exit.OK))


def _print(found: tuple[Account, ...]) -> None:
    if not found:
        print("no holdout was opened")
        return
    from rich.table import Table

    from ..shadow.gates.holdout import ALPHA, day

    table = Table("hook", "holdout", "from", "to", "openings", "error spent", "candidates left")
    for each in found:
        window = each.holdout
        table.add_row(
            window.hook,
            window.digest[:16],
            day(window.start_ns),
            day(window.end_ns),
            str(each.openings),
            f"{each.spent:.2%} of {ALPHA:.0%}",
            str(each.more) if each.more else "none: capture newer traffic",
        )
    console().print(folded(table))

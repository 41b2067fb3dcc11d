"""``gnomon quarantine``: evaluators that were caught beyond a proven bound, and their release."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..api import LEDGER, existing_ledger
from ._common import Exit, console, emit, folded, handled

if TYPE_CHECKING:
    from ..shadow.gates.evaluator import Quarantine

LedgerFile = Annotated[Path, typer.Option("--ledger", help="Ledger's file.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def register(app: typer.Typer) -> None:
    """Add the group ``quarantine`` to the command line."""
    group = typer.Typer(
        help="Evaluators whose scores cannot be true: list, release.", no_args_is_help=True
    )
    group.command("list")(handled(list_all))
    group.command("release")(handled(release))
    app.add_typer(group, name="quarantine")


def list_all(ledger: LedgerFile = LEDGER, as_json: Json = False) -> None:
    """List evaluators that were ever set aside: 0 none is now, 1 one is."""
    from ..shadow.gates.evaluator import quarantines, require_holds

    with closing(existing_ledger(ledger)) as book:
        require_holds(book)
        found = quarantines(book)
    emit([each.as_json() for each in found], as_json, lambda: _print(found))
    raise typer.Exit(int(Exit.NEGATIVE if any(each.stands for each in found) else Exit.OK))


def release(
    digest: Annotated[str, typer.Argument(help="Of the evaluator; 8 characters are enough.")],
    by: Annotated[str, typer.Option(help="Who answers for it.")],
    reason: Annotated[str, typer.Option(help="Why what it says counts again.")],
    ledger: LedgerFile = LEDGER,
    as_json: Json = False,
) -> None:
    """Let an evaluator work again, with a name and a reason that stay in the ledger."""
    from ..shadow.gates.evaluator import release as let_go

    with closing(existing_ledger(ledger)) as book:
        found = let_go(book, digest, by, reason)
    emit(found.as_json(), as_json, lambda: print(f"released {found.evaluator} by {by}: {reason}"))


def _print(found: tuple[Quarantine, ...]) -> None:
    if not found:
        print("no evaluator was ever in quarantine")
        return
    from rich.table import Table

    table = Table("evaluator", "hook", "kind", "since", "caught at", "state")
    for each in found:
        since = datetime.fromtimestamp(each.since_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S")
        state = "in quarantine" if each.stands else f"released by {each.released_by}: {each.reason}"
        table.add_row(each.evaluator[:16], each.hook, each.kind, since, each.why, state)
    console().print(folded(table))

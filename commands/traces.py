"""``gnomon traces``: what a trace store holds."""

from __future__ import annotations

from typing import Annotated

import typer

from ._common import Exit, emit, handled, shown


def register(app: typer.Typer) -> None:
    """Add ``traces`` to the command line."""
    app.command("traces")(handled(traces))


def traces(
    store: Annotated[str, typer.Argument(help="Trace store: a folder or a URI.")] = (
        ".gnomon/traces"
    ),
    hook: Annotated[str | None, typer.Option(help="Only this hook.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Show what a trace store holds: decisions, outcomes, shares, latencies, damage.

    Exit codes: 0 all of it can be read, 1 some of it is damaged or from the future, 2 bad input.
    """
    from .. import api

    found = api.traces(store, hook)
    emit(found.as_json(), as_json, shown(found))
    if found.damaged:
        raise typer.Exit(int(Exit.NEGATIVE))

"""``gnomon told``: what became of a program that was told."""

from __future__ import annotations

import math

import typer

from ._common import emit, handled, shown
from ._telling import Json, Run, Ticket, Timeout, Wait, exit_of


def register(app: typer.Typer) -> None:
    """Add ``told`` to the command line."""
    app.command("told")(handled(told))


def told(
    run: Run, ticket: Ticket, wait: Wait = False, timeout: Timeout = math.inf, as_json: Json = False
) -> None:
    """Show what became of a program that was told.

    Exit codes: 0 it has a score, 1 it has none, 2 nothing was told, 3 it still waits, or came too late.
    """
    from .. import api

    state = api.told(run, ticket, wait_s=timeout if wait else 0.0)
    emit(state.as_json(), as_json, shown(state))
    raise typer.Exit(int(exit_of(state)))

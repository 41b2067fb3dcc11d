"""``gnomon traces``: what a trace store holds, what is imported into it, merged and removed."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from . import _complete, _trace
from ._common import Exit, emit, handled, shown
from ._import import import_trace
from ._upkeep import compact, prune


class _ShowsOtherwise(TyperGroup):
    """A group of which ``show`` is meant where no command is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Name ``show`` where nothing is."""
        named = args and (args[0] in self.commands or args[0] == "--help")
        rest: list[str] = super().parse_args(ctx, args if named else ["show", *args])
        return rest


def register(app: typer.Typer) -> None:
    """Add the group ``traces`` to the command line."""
    group = typer.Typer(
        cls=_ShowsOtherwise,
        help="Show what a trace store holds (gnomon traces [STORE]), import, compact or prune.",
    )
    group.command("show")(handled(show))
    group.command("import")(handled(import_trace))
    group.command("compact")(handled(compact))
    group.command("prune")(handled(prune))
    app.add_typer(group, name="traces")


def show(
    store: Annotated[str, typer.Argument(help="Trace store: a folder or a URI.")] = (
        _trace.DEFAULT_TRACES
    ),
    hook: Annotated[
        str | None, typer.Option(help="Only this hook.", autocompletion=_complete.hooks)
    ] = None,
    traces: _trace.Again = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Show what a trace store holds: decisions, outcomes, shares, latencies, damage.

    Exit codes: 0 all of it can be read, 1 some of it is damaged or from the future, 2 bad input.
    """
    from .. import api

    found = api.traces(_trace.store_of(store, traces), hook)
    emit(found.as_json(), as_json, shown(found))
    if found.damaged:
        raise typer.Exit(int(Exit.NEGATIVE))

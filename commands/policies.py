"""``gnomon policies``: what comes with Gnomon, by kind: published policies and found ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from . import _complete
from ._common import console, emit, folded, handled

if TYPE_CHECKING:
    from ..policies.listing import Known

_BUILT_IN = "built in: the policy language cannot express it"


def register(app: typer.Typer) -> None:
    """Add ``policies`` to the command line."""
    app.command("policies")(handled(policies))


def policies(
    kind: Annotated[
        str | None,
        typer.Argument(help="Name of a kind; all if none.", autocompletion=_complete.kind_names),
    ] = None,
    name: Annotated[
        str | None, typer.Argument(help="baseline:NAME or found:NAME: print its source.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """List the policies that come with Gnomon, or print one: published ones, and those found."""
    from ..policies.listing import known_policies, known_policy

    if kind and name:
        one = known_policy(kind, name)
        emit(one.as_json(), as_json, lambda: print(one.source or f"# {_BUILT_IN}", end=""))
        return
    all_known = known_policies(kind)
    emit([each.as_json() for each in all_known], as_json, lambda: _print(all_known))


def _print(all_known: tuple[Known, ...]) -> None:
    from rich.table import Table

    table = Table("kind", "policy", "form", "where it comes from")
    for each in all_known:
        form = "source" if each.source else "built in"
        table.add_row(each.kind, each.name, form, each.reference)
    console().print(folded(table))

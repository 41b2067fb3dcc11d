"""``gnomon invariants``: what must hold, whether it did, and what a trace suggests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from . import _complete, _trace
from ._common import Exit, emit, handled, shown

if TYPE_CHECKING:
    from ..sdk.invariant import Severity

Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
File = Annotated[
    Path | None,
    typer.Option("--invariants", help="File of suggestions; those confirmed are held to as well."),
]


def register(app: typer.Typer) -> None:
    """Add the group ``invariants`` to the command line."""
    group = typer.Typer(
        help="List, check, suggest and confirm what must hold.", no_args_is_help=True
    )
    group.command("list")(handled(list_invariants))
    group.command("check", epilog="Exit codes: 0 all of severity block held · 1 not · 2 bad input")(
        handled(check)
    )
    group.command("suggest")(handled(suggest))
    group.command("confirm")(handled(confirm))
    app.add_typer(group, name="invariants")


def list_invariants(
    hook: Annotated[
        str, typer.Option("--hook", help="module:attribute of the function, which is imported.")
    ] = "",
    kind: Annotated[str, typer.Option(help="Name of a kind instead, for its own alone.")] = "",
    invariants: File = None,
    as_json: Json = False,
) -> None:
    """List the invariants of a hook or a kind, with where each is asked.

    Exit codes: 0 listed, 2 bad input.
    """
    from .. import api

    found = api.list_invariants(hook, kind=kind, invariants=invariants)
    emit(found.as_json(), as_json, shown(found))


def check(
    traces: _trace.Traces = _trace.DEFAULT_TRACES,
    hook: _trace.HookName = None,
    incumbent: Annotated[
        str | None,
        typer.Option(
            help="Replay this policy and check it; recorded decisions where there are any.",
            autocompletion=_complete.incumbents,
        ),
    ] = None,
    invariants: File = None,
    show: Annotated[int, typer.Option(min=0, help="Violations shown of each invariant.")] = 3,
    ledger: Annotated[
        Path | None, typer.Option(help="Ledger that takes an entry of the check.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Hold every decision of a trace to the decision-level invariants, the incumbent's too."""
    from .. import api

    found = api.check_invariants(
        traces, hook=hook, incumbent=incumbent, invariants=invariants, show=show, ledger=ledger
    )
    emit(found.as_json(), as_json, shown(found))
    raise typer.Exit(int(Exit.NEGATIVE if found.broken else Exit.OK))


def suggest(
    out: Annotated[Path, typer.Option(help="File that takes the suggestions; must not exist.")],
    traces: _trace.Traces = _trace.DEFAULT_TRACES,
    hook: _trace.HookName = None,
    incumbent: Annotated[
        str | None,
        typer.Option(
            help="Replay this policy and look at it; recorded decisions where there are any.",
            autocompletion=_complete.incumbents,
        ),
    ] = None,
    seed: _trace.Seed = 0,
    as_json: Json = False,
) -> None:
    """Suggest invariants that the decisions of a trace keep; none counts before it is confirmed.

    Exit codes: 0 some, 1 none, 2 bad input.
    """
    from .. import api

    found = api.suggest_invariants(traces, out, hook=hook, incumbent=incumbent, seed=seed)
    emit(found.as_json(), as_json, shown(found))
    raise typer.Exit(int(Exit.OK if found.file.rules else Exit.NEGATIVE))


def confirm(
    file: Annotated[Path, typer.Argument(help="File of suggestions.")],
    names: Annotated[list[str], typer.Argument(help="Names of those that must hold.")],
    by: Annotated[str, typer.Option(help="Who confirms; $GNOMON_ACTOR or the user if empty.")] = "",
    severity: Annotated[
        str,
        typer.Option(
            help="block, or warn to count only.", autocompletion=_complete.words("block", "warn")
        ),
    ] = "block",
    ledger: Annotated[
        Path | None, typer.Option(help="Ledger that takes an entry of each confirmation.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Confirm suggestions: from now on they count wherever the file is named or loaded.

    Exit codes: 0 confirmed, 2 bad input.
    """
    from .. import api

    held = cast("Severity", severity)  # any other word is refused there
    made = api.confirm_invariants(file, names, by=by, severity=held, ledger=ledger)
    emit(made.as_json(), as_json, shown(made))

"""``gnomon replay``: a recorded trace under other policies."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from . import _complete, _trace
from ._common import Exit, emit, handled, shown

_CODES = {
    "ok": Exit.OK,
    "beyond tolerance": Exit.NEGATIVE,
    "inconclusive": Exit.INCONCLUSIVE,
    "nothing recorded": Exit.OK,
}


def register(app: typer.Typer) -> None:
    """Add ``replay`` to the command line."""
    app.command("replay", epilog="Exit codes: fidelity 0 ok · 1 beyond tolerance · 3 inconclusive")(
        handled(replay)
    )


def replay(
    store: Annotated[str, typer.Argument(help=_trace.TRACES_HELP)] = _trace.DEFAULT_TRACES,
    hook: _trace.HookName = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="File or baseline:NAME; repeat. All baselines if none.",
            autocompletion=_complete.policies,
        ),
    ] = None,
    incumbent: _trace.Incumbent = None,
    replicas: Annotated[int, typer.Option(min=2, help="Replays per policy.")] = 20,
    seed: _trace.Seed = 0,
    isolation: _trace.Isolation = "strict",
    traces: _trace.Again = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Replay a trace: how faithful the simulator is, and what other policies would have done."""
    from .. import api

    table = api.replay(
        _trace.store_of(store, traces),
        policy or (),
        hook=hook,
        incumbent=incumbent,
        replicas=replicas,
        seed=seed,
        isolation=isolation,
        progress=_progress,
    )
    emit(table.as_json(), as_json, shown(table))
    raise typer.Exit(int(_CODES[table.fidelity.answer]))


def _progress(line: str) -> None:
    print(line, file=sys.stderr)

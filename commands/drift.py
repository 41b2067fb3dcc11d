"""``gnomon drift``: whether the newest traffic is still what justified a policy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..api import LEDGER
from . import _complete, _trace
from ._common import Exit, emit, handled, shown

_EXITS = {"same": Exit.OK, "drifted": Exit.NEGATIVE, "inconclusive": Exit.INCONCLUSIVE}


def register(app: typer.Typer) -> None:
    """Add ``drift`` to the command line."""
    app.command("drift", epilog="Exit codes: 0 the same · 1 drifted · 2 bad input · 3 too little")(
        handled(drift)
    )


def drift(
    hook: Annotated[str, typer.Argument(help="Name of it.", autocompletion=_complete.hooks)],
    against: Annotated[Path, typer.Option(help="Bundle of the policy, or its verdict.")],
    store: Annotated[str, typer.Option(help="Trace store: a folder or a URI.")] = (
        _trace.DEFAULT_TRACES
    ),
    limit: Annotated[float, typer.Option(help="Of the index of any feature.")] = 0.25,
    last: Annotated[str, typer.Option(help="Traffic up to the newest decision.")] = "7d",
    ledger: Annotated[Path, typer.Option(help="Ledger that holds the verdict.")] = LEDGER,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Compare the newest recorded traffic with the trace that justified a policy, feature by feature."""
    from .. import api
    from ._rollout import seconds

    found = api.drift(
        hook, store, against=against, limit=limit, last_s=seconds(last), ledger=ledger
    )
    emit(found.as_json(), as_json, shown(found))
    raise typer.Exit(int(_EXITS[found.answer]))

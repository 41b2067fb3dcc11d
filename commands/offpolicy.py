"""``gnomon offpolicy``: what recorded decisions say of policies that did not make them."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from . import _complete, _trace
from ._common import Exit, emit, handled, shown


def register(app: typer.Typer) -> None:
    """Add ``offpolicy`` to the command line."""
    app.command("offpolicy", epilog="Exit codes: 0 numbers for all · 2 bad input · 3 no overlap")(
        handled(offpolicy)
    )


def offpolicy(
    store: Annotated[str, typer.Argument(help=_trace.TRACES_HELP)] = _trace.DEFAULT_TRACES,
    hook: _trace.HookName = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="File, baseline:NAME or found:NAME of a score; repeat. All such baselines if none.",
            autocompletion=_complete.policies,
        ),
    ] = None,
    clip: Annotated[float, typer.Option(help="Largest weight of a decision.")] = math.inf,
    least_effective: Annotated[
        float, typer.Option(help="Effective sample size below which there is no number.")
    ] = 100.0,
    seed: _trace.Seed = 0,
    isolation: _trace.Isolation = "strict",
    traces: _trace.Again = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Estimate policies from recorded decisions alone, where exploration makes that possible."""
    from .. import api
    from ..sdk.isolation.layers import known_mode
    from ..shadow.offpolicy.table import OffPolicyOptions

    options = OffPolicyOptions(clip, least_effective, known_mode(isolation), seed)
    table = api.off_policy(_trace.store_of(store, traces), policy or (), hook=hook, options=options)
    emit(table.as_json(), as_json, shown(table))
    raise typer.Exit(int(Exit.OK if table.overlapping else Exit.INCONCLUSIVE))

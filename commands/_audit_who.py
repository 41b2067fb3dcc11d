"""``gnomon audit who``: which policy decided at some moment, who approved it, on what evidence."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from .. import api
from ..sdk.errors import ConfigurationError
from . import _audit, _complete, _rollout
from ._common import Exit, emit, shown

#: Another machine's clock may be as much ahead.
_SKEW_NS = 60_000_000_000


def who(
    hook: Annotated[str, typer.Argument(help="Hook.", autocompletion=_complete.hooks)],
    at: Annotated[
        str, typer.Option(help="ISO time, or 12:03 of today; UTC unless it says; or 2h ago.")
    ],
    service: Annotated[str, typer.Option(help="Only its processes.")] = "",
    instance: Annotated[str, typer.Option(help="Only this process; its beginning will do.")] = "",
    store: Annotated[
        str, typer.Option(help="Trace store; its recorded decisions are counted.")
    ] = "",
    within: Annotated[str, typer.Option(help="They are counted in so long around it.")] = "60s",
    ledger: Annotated[
        Path | None, typer.Option(help="File of a control plane's ledger, instead of asking one.")
    ] = None,
    project_ledger: Annotated[
        Path, typer.Option(help="Ledger that may hold the verdicts.")
    ] = api.LEDGER,
    control_plane: Annotated[
        str,
        typer.Option(envvar="GNOMON_CONTROL_PLANE", help="HOST:PORT; its ledger is asked."),
    ] = "",
    as_json: _rollout.Json = False,
) -> None:
    """Say which policy decided on a hook at a time, who approved it, on what evidence: 1 nothing known."""
    _rollout.quiet()
    asked = "" if ledger is not None else control_plane
    if not asked and ledger is None and not store:
        asked = api.CONTROL_PLANE
    found = api.who_decided(
        hook,
        _past(at),
        asked,
        service=service,
        instance=instance,
        store=store or None,
        within_s=_rollout.seconds(within),
        ledger=ledger,
        project_ledger=project_ledger,
    )
    emit(found.as_json(), as_json, shown(found))
    raise typer.Exit(int(Exit.OK if found.known else Exit.NEGATIVE))


def _past(text: str) -> int:
    """Return a time as Unix nanoseconds; one that is to come was mostly meant in another time zone."""
    at, now = _audit.when(text), time.time_ns()
    if at > now + _SKEW_NS:
        raise ConfigurationError(
            f"{text!r} lies ahead of {_audit.moment(now)}, so nothing has decided then; times are UTC unless they say "
            "otherwise, as 2026-11-28T12:03+01:00"
        )
    return at

"""``gnomon doctor``: what this machine has for Gnomon, and what it lacks."""

from __future__ import annotations

from typing import Annotated

import typer

from ._common import Exit, emit, handled, shown


def register(app: typer.Typer) -> None:
    """Add ``doctor`` to the command line."""
    app.command("doctor")(handled(doctor))


def doctor(
    control_plane: Annotated[
        str, typer.Option(help="HOST:PORT to reach; else GNOMON_CONTROL_PLANE.")
    ] = "",
    otlp_endpoint: Annotated[
        str, typer.Option(help="Endpoint to reach; else OTEL_EXPORTER_OTLP_ENDPOINT.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Check isolation, clock, keys, state, peers, versions and variables of this machine.

    Exit codes: 0 nothing fails, 1 something does.
    """
    from .. import api
    from ._rollout import quiet

    quiet()
    found = api.doctor(control_plane, otlp_endpoint)
    emit(found.as_json(), as_json, shown(found))
    raise typer.Exit(int(Exit.OK if found.ok else Exit.NEGATIVE))

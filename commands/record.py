"""``gnomon record``: receive records over OTLP and keep them in a trace store."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._common import emit, handled

if TYPE_CHECKING:
    from ..recorder.intake import Counts
    from ..recorder.serve import Setup


def register(app: typer.Typer) -> None:
    """Add ``record`` to the command line."""
    app.command("record")(handled(record))


def record(
    store: Annotated[str, typer.Option(help="Trace store: a folder or a URI (s3://…).")] = (
        ".gnomon/traces"
    ),
    listen: Annotated[str, typer.Option(help="HOST:PORT; port 0 takes a free one.")] = (
        "127.0.0.1:4317"
    ),
    tls_cert: Annotated[Path | None, typer.Option(help="PEM certificate; turns TLS on.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM key of the certificate.")] = None,
    insecure: Annotated[bool, typer.Option(help="Allow plain text from elsewhere.")] = False,
    spool: Annotated[
        Path | None, typer.Option(help="Local folder for what is not in the store yet.")
    ] = None,
    ready_file: Annotated[
        Path | None, typer.Option(help="File that receives the bound address once ready.")
    ] = None,
    compact_after: Annotated[
        str, typer.Option(help="Merge the files of hours that ended so long ago; off for never.")
    ] = "2h",
    keep: Annotated[
        str | None, typer.Option(help="Remove hours that ended so long ago, as in 30d.")
    ] = None,
    keep_bytes: Annotated[
        str | None, typer.Option(help="Remove the oldest hours beyond this size, as in 50G.")
    ] = None,
    redact: Annotated[
        list[str] | None,
        typer.Option(help="FIELD=hash or FIELD=drop, before anything is written; repeatable."),
    ] = None,
    redact_key: Annotated[
        Path | None, typer.Option(help="File of at least 16 random bytes that hash is keyed with.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print totals as JSON at the end.")
    ] = False,
) -> None:
    """Receive records over OTLP/gRPC into a trace store, until SIGTERM or SIGINT."""
    import asyncio

    # gRPC's core writes a log line of its own for what ends in one of our one-line errors.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from ..recorder.receiver import Listening
    from ..recorder.redaction import parse
    from ..recorder.serve import Setup, serve
    from ..recorder.upkeep import Upkeep
    from ._amounts import age, bytes_of

    listening = Listening(listen, tls_cert, tls_key, insecure=insecure)
    setup: Setup = Setup(
        store,
        spool=spool,
        listening=listening,
        ready=ready_file,
        upkeep=Upkeep(age(compact_after), age(keep), bytes_of(keep_bytes)),
        redaction=parse(redact or (), redact_key),
    )
    counts = asyncio.run(serve(setup, _report))
    emit(_totals(counts), as_json, lambda: None)


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _totals(counts: Counts) -> dict[str, Any]:
    return {
        **asdict(counts),
        "malformed": dict(counts.malformed),
        "problems": list(counts.problems),
    }

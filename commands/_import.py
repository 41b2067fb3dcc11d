"""``gnomon traces import``: a public trace into a trace store."""

from __future__ import annotations

import sys
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..sdk.errors import ConfigurationError
from . import _import_routing as routing
from ._common import console, emit
from ._trace import DEFAULT_TRACES

if TYPE_CHECKING:
    from ..recorder.importers import Imported


class Format(str, Enum):
    """Formats that can be imported."""

    oracle_general = "oracleGeneral"
    arc = "arc"
    ids = "ids"
    csv = "csv"
    esft = "esft"
    eplb_json = "eplb-json"


def import_trace(
    format: Annotated[
        Format,
        typer.Argument(metavar="FORMAT", help="oracleGeneral, arc, ids, csv, esft or eplb-json."),
    ],
    file: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="The trace; .gz, .zst and .xz are decompressed."),
    ],
    hook: Annotated[str, typer.Option(help="Name that the trace is to have.")],
    capacity: Annotated[
        str | None,
        typer.Option(help="Of the cache: a number, or a share of the working set as in 10%."),
    ] = None,
    out: Annotated[str, typer.Option(help="Trace store: a folder or a URI.")] = DEFAULT_TRACES,
    ignore_size: Annotated[
        bool, typer.Option("--ignore-size", help="Give every object size 1.")
    ] = False,
    limit: Annotated[int | None, typer.Option(help="The most accesses to read.")] = None,
    key: Annotated[str, typer.Option(help="Of a CSV file: column of keys.")] = "key",
    time: Annotated[
        str | None, typer.Option(help="Of a CSV file: column of times in seconds.")
    ] = None,
    size: Annotated[str | None, typer.Option(help="Of a CSV file: column of sizes.")] = None,
    deployment: Annotated[
        list[str] | None,
        typer.Option("--set", help="Of an expert placement: slots=72, ranks=8, groups=1, ..."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Import a public trace as the workload of a hook of the kind cache, or expert_placement.

    Exit codes: 0 imported, 2 bad input.
    """
    from ..recorder import importers
    from ..recorder.store import TraceStore

    if format.value in importers.ROUTING:
        routing.import_loads(format.value, file, hook, out, deployment or [], as_json)
        return
    if capacity is None:
        raise ConfigurationError("a cache has a capacity; give --capacity, such as 10%")
    columns = importers.Columns(key, time, size)
    request = importers.Request(
        format.value, _only(file), hook, capacity, ignore_size, limit, columns
    )
    found = importers.import_trace(TraceStore(out), request, _progress)
    emit(asdict(found) | {"store": out}, as_json, lambda: _show(found, out))


def _only(files: list[Path]) -> Path:
    if len(files) != 1:
        raise ConfigurationError(f"a trace of accesses is one file, not {len(files)}; name one")
    return files[0]


def _progress(line: str) -> None:
    print(line, file=sys.stderr)


def _show(found: Imported, out: str) -> None:
    printed = console()
    objects = "" if found.objects is None else f" to {found.objects} objects"
    printed.print(
        f"{found.accesses} accesses{objects} over {found.span_s:.3f} s as hook {found.hook} of {out}, "
        f"for a cache of {found.capacity:.15g}"
    )
    if found.turned_back:
        printed.print(f"{found.turned_back} times went back and take the latest before them")
    if found.resized:
        printed.print(f"{found.resized} sizes below 1 or missing count as 1")

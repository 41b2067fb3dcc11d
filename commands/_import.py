"""``gnomon traces import``: a public trace into a trace store."""

from __future__ import annotations

import sys
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..sdk.errors import ConfigurationError
from ._common import console, emit
from ._trace import DEFAULT_TRACES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..recorder.importers import Imported, RequestsImported


class Format(str, Enum):
    """Formats that can be imported."""

    oracle_general = "oracleGeneral"
    arc = "arc"
    ids = "ids"
    csv = "csv"
    mooncake = "mooncake"


def import_trace(
    format: Annotated[
        Format, typer.Argument(metavar="FORMAT", help="oracleGeneral, arc, ids, csv or mooncake.")
    ],
    file: Annotated[Path, typer.Argument(help="The trace; .gz, .zst and .xz are decompressed.")],
    hook: Annotated[str, typer.Option(help="Name that the trace is to have.")],
    capacity: Annotated[
        str | None,
        typer.Option(help="Of the cache: a number, or a share of the working set as in 10%."),
    ] = None,
    out: Annotated[str, typer.Option(help="Trace store: a folder or a URI.")] = DEFAULT_TRACES,
    ignore_size: Annotated[
        bool, typer.Option("--ignore-size", help="Give every object size 1.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(help="The most accesses or requests to read.")
    ] = None,
    key: Annotated[str, typer.Option(help="Of a CSV file: column of keys.")] = "key",
    time: Annotated[
        str | None, typer.Option(help="Of a CSV file: column of times in seconds.")
    ] = None,
    size: Annotated[str | None, typer.Option(help="Of a CSV file: column of sizes.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Of a mooncake trace: a setting of the replicas."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Import a public trace as the workload of a hook: of the kind cache, or of llm_router.

    Exit codes: 0 imported, 2 bad input.
    """
    from ..recorder import importers
    from ..recorder.store import TraceStore

    store = TraceStore(out)
    if format is Format.mooncake:
        requests = importers.import_mooncake(
            store, file, hook, _settings(setting or ()), limit, _progress
        )
        emit(asdict(requests) | {"store": out}, as_json, lambda: _show_requests(requests, out))
        return
    if capacity is None:
        raise ConfigurationError(f"{format.value} is a trace of a cache; say its --capacity")
    columns = importers.Columns(key, time, size)
    request = importers.Request(format.value, file, hook, capacity, ignore_size, limit, columns)
    found = importers.import_trace(store, request, _progress)
    emit(asdict(found) | {"store": out}, as_json, lambda: _show(found, out))


def _settings(pairs: Iterable[str]) -> dict[str, str]:
    settings = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ConfigurationError(f"--set {pair} is no setting; write NAME=VALUE")
        settings[name] = value
    return settings


def _progress(line: str) -> None:
    print(line, file=sys.stderr)


def _show_requests(found: RequestsImported, out: str) -> None:
    printed = console()
    replicas = ", ".join(f"{name}={value:g}" for name, value in found.replicas.items())
    printed.print(
        f"{found.requests} requests of {found.blocks} blocks over {found.span_s:.3f} s as hook "
        f"{found.hook} of {out}, for replicas with {replicas}"
    )
    if found.turned_back:
        printed.print(f"{found.turned_back} times went back and take the latest before them")


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

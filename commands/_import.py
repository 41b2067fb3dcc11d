"""``gnomon traces import``: a public trace into a trace store."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from . import (
    _import_accesses,
    _import_envoy,
    _import_mooncake,
    _import_requests,
    _import_routing,
    _import_swf,
)
from ._trace import DEFAULT_TRACES
from ._wanted import Wanted


class Format(str, Enum):
    """Formats that can be imported."""

    oracle_general = "oracleGeneral"
    arc = "arc"
    ids = "ids"
    csv = "csv"
    mooncake = "mooncake"
    azure_llm = "azure-llm"
    vllm_requests = "vllm-requests"
    burstgpt = "burstgpt"
    esft = "esft"
    eplb_json = "eplb-json"
    envoy = "envoy"
    swf = "swf"


_IMPORTS: dict[Format, Callable[[Wanted], None]] = {
    Format.oracle_general: _import_accesses.run,
    Format.arc: _import_accesses.run,
    Format.ids: _import_accesses.run,
    Format.csv: _import_accesses.run,
    Format.mooncake: _import_mooncake.run,
    Format.azure_llm: _import_requests.run,
    Format.vllm_requests: _import_requests.run,
    Format.burstgpt: _import_requests.run,
    Format.esft: _import_routing.run,
    Format.eplb_json: _import_routing.run,
    Format.envoy: _import_envoy.run,
    Format.swf: _import_swf.run,
}


def import_trace(
    format: Annotated[
        Format,
        typer.Argument(
            metavar="FORMAT",
            help="oracleGeneral arc ids csv mooncake azure-llm vllm-requests burstgpt esft eplb-json envoy swf",
        ),
    ],
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="The trace; .gz, .zst and .xz are decompressed."),
    ],
    hook: Annotated[str, typer.Option(help="Name that the trace is to have.")],
    out: Annotated[str, typer.Option(help="Trace store: a folder or a URI.")] = DEFAULT_TRACES,
    limit: Annotated[
        int | None, typer.Option(help="The most accesses or requests to read.")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Of replicas, engine or deployment: slots=64, max_num_seqs=128, ranks=8.",
        ),
    ] = None,
    capacity: Annotated[
        str | None,
        typer.Option(help="Of the cache: a number, or a share of the working set as in 10%."),
    ] = None,
    ignore_size: Annotated[
        bool, typer.Option("--ignore-size", help="Give every object size 1.")
    ] = False,
    key: Annotated[str, typer.Option(help="Of a CSV file: column of keys.")] = "key",
    time: Annotated[
        str | None, typer.Option(help="Of a CSV file: column of times in seconds.")
    ] = None,
    size: Annotated[str | None, typer.Option(help="Of a CSV file: column of sizes.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Import a public trace as the workload of a hook; the format says of which kind.

    Exit codes: 0 imported, 2 bad input.
    """
    wanted = Wanted(
        format=format.value,
        files=tuple(files),
        hook=hook,
        store=out,
        limit=limit,
        settings=tuple(setting or ()),
        capacity=capacity,
        ignore_size=ignore_size,
        columns=(key, time, size),
        as_json=as_json,
    )
    _IMPORTS[format](wanted)

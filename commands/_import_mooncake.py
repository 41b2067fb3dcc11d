"""``gnomon traces import`` of prompts as hashed blocks, for a router in front of LLM replicas."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from ._common import console, emit
from ._wanted import Wanted, progress

if TYPE_CHECKING:
    from ..recorder.importers import RequestsImported


def run(wanted: Wanted) -> None:
    """Import requests and say what it came to; raises as the importer does."""
    from ..recorder import importers

    wanted.only_for_caches()
    found = importers.import_mooncake(
        wanted.opened(), wanted.file, wanted.hook, dict(wanted.pairs()), wanted.limit, progress
    )
    emit(
        asdict(found) | {"store": wanted.store}, wanted.as_json, lambda: _show(found, wanted.store)
    )


def _show(found: RequestsImported, out: str) -> None:
    printed = console()
    replicas = ", ".join(f"{name}={value:g}" for name, value in found.replicas.items())
    printed.print(
        f"{found.requests} requests of {found.blocks} blocks over {found.span_s:.3f} s as hook "
        f"{found.hook} of {out}, for replicas with {replicas}"
    )
    if found.turned_back:
        printed.print(f"{found.turned_back} times went back and take the latest before them")

"""``gnomon traces import`` of cache accesses."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from ..sdk.errors import ConfigurationError
from ._common import console, emit
from ._wanted import Wanted, progress

if TYPE_CHECKING:
    from ..recorder.importers import Imported


def run(wanted: Wanted) -> None:
    """Import accesses and say what it came to; raises as the importer does."""
    from ..recorder import importers

    if wanted.capacity is None:
        raise ConfigurationError(
            f"{wanted.format} is a trace of a cache, which has a capacity; give --capacity, such as 10%"
        )
    if wanted.settings:
        raise ConfigurationError(
            f"--set {wanted.settings[0]}: a cache has no settings but --capacity; leave it out"
        )
    request = importers.Request(
        wanted.format,
        wanted.file,
        wanted.hook,
        wanted.capacity,
        wanted.ignore_size,
        wanted.limit,
        importers.Columns(*wanted.columns),
    )
    found = importers.import_trace(wanted.opened(), request, progress)
    emit(
        asdict(found) | {"store": wanted.store}, wanted.as_json, lambda: _show(found, wanted.store)
    )


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

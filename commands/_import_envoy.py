"""``gnomon traces import`` of Envoy's access logs, for a load balancer."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from ..sdk.errors import ConfigurationError
from ._common import console, emit
from ._wanted import Wanted, progress

if TYPE_CHECKING:
    from ..recorder.importers import LogImported


def run(wanted: Wanted) -> None:
    """Import a log and say what it came to; raises as the importer does."""
    from ..recorder import importers

    wanted.only_for_caches()
    for name, value in wanted.pairs():
        raise ConfigurationError(
            f"--set {name}={value} says nothing of an access log; leave it out"
        )
    found = importers.import_envoy(
        wanted.opened(), wanted.file, wanted.hook, wanted.limit, progress
    )
    emit(
        asdict(found) | {"store": wanted.store}, wanted.as_json, lambda: _show(found, wanted.store)
    )


def _show(found: LogImported, out: str) -> None:
    printed = console()
    printed.print(
        f"{found.requests} requests to {len(found.members)} hosts over {found.span_s:.3f} s as hook "
        f"{found.hook} of {out}; {found.failures} failed"
    )
    if found.unsent:
        printed.print(f"{found.unsent} requests reached no host and are left out")

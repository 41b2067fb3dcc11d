"""``gnomon traces import`` of requests to LLM servers: what is particular to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from ..sdk.errors import ConfigurationError
from ._common import console, emit
from ._wanted import Wanted

if TYPE_CHECKING:
    from ..recorder.importers import ImportedRequests


def run(wanted: Wanted) -> None:
    """Import requests and say what it came to; raises as the importer does."""
    from ..recorder import importers

    wanted.only_for_caches()
    numbers, exact = _settings(wanted.settings)
    request = importers.RequestImport(
        wanted.format,
        wanted.file,
        wanted.hook,
        wanted.limit,
        numbers,
        "exact" if exact else "mean",
    )
    found = importers.import_requests(wanted.opened(), request)
    emit(
        asdict(found) | {"store": wanted.store}, wanted.as_json, lambda: _show(found, wanted.store)
    )


def _settings(given: Sequence[str]) -> tuple[dict[str, int], bool]:
    """Return what ``--set NAME=N`` says of the engine, and whether ``--set expected=exact`` is among it."""
    numbers: dict[str, int] = {}
    exact = False
    for setting in given:
        name, _, value = setting.partition("=")
        if name == "expected" and value in ("mean", "exact"):
            exact = value == "exact"
        elif value.isascii() and value.isdigit():
            numbers[name] = int(value)
        else:
            raise ConfigurationError(
                f"--set {setting} is no setting of an LLM server; give NAME=N such as max_num_seqs=128, or "
                "expected=exact"
            )
    return numbers, exact


def _show(found: ImportedRequests, out: str) -> None:
    printed = console()
    printed.print(
        f"{found.requests} requests over {found.span_s:.3f} s as hook {found.hook} of {out}; of "
        f"{found.measured} the latency was measured"
    )
    known = ", ".join(f"{name}={value}" for name, value in found.settings.items() if value)
    printed.print(f"engine: {known or 'no settings known'}")
    if found.turned_back:
        printed.print(f"{found.turned_back} requests come after a later one and are put in order")
    if found.resized:
        printed.print(f"{found.resized} prompts or answers of no token count as 1")

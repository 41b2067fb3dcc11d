"""``gnomon traces import swf``: what is particular to logs of batch systems."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..sdk.errors import ConfigurationError
from ._common import console, emit
from ._wanted import Wanted

if TYPE_CHECKING:
    from ..recorder.importers import ImportedJobs

_LEFT = {
    "several": "of several processors (--set processors=ignore takes them as of one)",
    "uncounted": "of an unknown number of processors",
    "never_ran": "without a run time above 0",
    "parts": "that are a part of a job",
    "undated": "without a submit time",
}


def run(wanted: Wanted) -> None:
    """Import a log and say what it came to; raises as the importer does."""
    from ..recorder import importers

    wanted.only_for_caches()
    request = importers.JobRequest(wanted.file, wanted.hook, wanted.limit, **_settings(wanted))
    found = importers.import_jobs(wanted.opened(), request)
    emit(
        asdict(found) | {"store": wanted.store}, wanted.as_json, lambda: _show(found, wanted.store)
    )


def _settings(wanted: Wanted) -> dict[str, Any]:
    """Return what ``--set`` says; raises ConfigurationError for what is no setting of a log."""
    found: dict[str, Any] = {}
    kinds = {"workers": int, "speedup": float, "processors": str}
    for name, value in wanted.pairs():
        try:
            found[name] = kinds[name](value)
        except (KeyError, ValueError) as error:
            raise ConfigurationError(
                f"--set {name}={value} is no setting of a log; give workers=N, speedup=X or "
                "processors=ignore"
            ) from error
    return found


def _show(found: ImportedJobs, out: str) -> None:
    printed = console()
    printed.print(
        f"{found.jobs} jobs over {found.span_s:.3f} s as hook {found.hook} of {out}, run by "
        f"{found.workers} workers; of {found.measured} the wait is known, {found.failed} failed"
    )
    for name, reason in _LEFT.items():
        if count := getattr(found, name):
            printed.print(f"{count} lines left out: {reason}")
    if found.turned_back:
        printed.print(f"{found.turned_back} jobs come after a later one and are put in order")
    if found.unsized:
        printed.print(f"{found.unsized} jobs asked for no time and get the mean as their size")
    if found.clipped:
        printed.print(
            f"{found.clipped} latencies are beyond 60 s, which are all one to the objective: --set speedup=X "
            "divides all times"
        )

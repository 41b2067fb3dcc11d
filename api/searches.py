"""Runs of searches, read without disturbing them: a list, one of them, its rows for other tools, its report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .places import RUNS, writable

if TYPE_CHECKING:
    from ..shadow.report.runs import RunList, RunStory, Written


def list_runs(folder: str | Path = RUNS) -> RunList:
    """Return the runs below a folder, last changed first; one whose log is damaged says so.

    Raises:
        ConfigurationError: there is no such folder.
    """
    from ..sdk.errors import ConfigurationError
    from ..shadow.report.runs import listed

    root = Path(folder)
    if not root.is_dir():
        raise ConfigurationError(f"{root} is no folder of runs; name one, or run gnomon evolve")
    return listed(root)


def show_run(run: str | Path) -> RunStory:
    """Return one run: its state, its result as far as its log says, and the lineage of its best program.

    Args:
        run: its folder, its log, or its name in ``.gnomon/runs``.

    Raises:
        ConfigurationError: there is none.
        TraceError: its log was edited, is none, or a newer version wrote it.
    """
    from ..shadow.report.runs import story

    return story(found_run(run))


def export_run(run: str | Path, out: str | Path) -> Written:
    """Write one row per proposal, with its lineage, into ``out``; the name's end says which format.

    Args:
        run: as for :func:`show_run`.
        out: ends in ``.jsonl`` or ``.parquet``; either the old file or the whole new one.

    Raises:
        ConfigurationError, TraceError: as :func:`show_run`; or ``out`` ends in neither, or cannot be written.
    """
    from ..shadow.report.runs import Written
    from ..shadow.search.results.export import write
    from ..shadow.search.results.runs import load

    loaded, path = load(found_run(run)), writable(Path(out))
    write(loaded, path)
    return Written.of(loaded, path)


def report_run(run: str | Path) -> Written:
    """Write ``report.html`` into a run's folder, of a run that goes on, too.

    Args:
        run: as for :func:`show_run`.

    Raises:
        ConfigurationError, TraceError: as :func:`show_run`.
    """
    from ..shadow.report.runs import Written
    from ..shadow.report.searches import write_report
    from ..shadow.search.results.runs import load

    loaded = load(found_run(run))
    return Written.of(loaded, write_report(loaded))


def found_run(run: str | Path) -> Path:
    """Return where a run is: the path itself, or that name among the usual runs."""
    path = Path(run)
    return path if path.exists() or not (RUNS / path).exists() else RUNS / path

"""``gnomon runs``: the runs of searches, what came of one, its rows for other tools, its report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from . import _complete
from ._common import Exit, emit, handled, shown

Run = Annotated[
    str,
    typer.Argument(
        help="Folder of a run, its log.jsonl, or its name in .gnomon/runs.",
        autocompletion=_complete.runs,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def register(app: typer.Typer) -> None:
    """Add the group ``runs`` to the command line."""
    group = typer.Typer(help="List the runs of searches, show one, export it, write its report.")
    group.command("list")(handled(list_runs))
    group.command("show")(handled(show))
    group.command("export")(handled(export))
    group.command("report")(handled(report))
    app.add_typer(group, name="runs")


def list_runs(
    folder: Annotated[
        str, typer.Argument(help="Folder to look in, at any depth.")
    ] = ".gnomon/runs",
    as_json: AsJson = False,
) -> None:
    """List the runs below a folder: state, proposals, best score; nothing is locked or changed.

    Exit codes: 0 all of them can be read, 1 some log is damaged, 2 bad input.
    """
    from .. import api

    found = api.list_runs(folder)
    emit(found.as_json(), as_json, shown(found))
    if found.damaged:
        raise typer.Exit(int(Exit.NEGATIVE))


def show(run: Run, as_json: AsJson = False) -> None:
    """Show a run, even one that goes on: what came of it, and the lineage of its best with all changes.

    Exit codes: 0 shown, 2 bad input, a log that was edited among it.
    """
    from .. import api

    found = api.show_run(run)
    emit(found.as_json(), as_json, shown(found))


def export(
    run: Run,
    out: Annotated[
        Path | None,
        typer.Option(help="File, .jsonl or .parquet; standard output as JSON lines without it."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Export a run as one row per proposal, with lineage, author, cost, stretches and the change made.

    Exit codes: 0 exported, 2 bad input.
    """
    from .. import api

    if out is not None:
        written = api.export_run(run, out)
        emit(written.as_json(), as_json, shown(written))
        return
    from ..api.searches import found_run
    from ..shadow.search.results.export import as_jsonl
    from ..shadow.search.results.runs import load

    sys.stdout.writelines(as_jsonl(load(found_run(run))))


def report(run: Run, as_json: AsJson = False) -> None:
    """Write report.html into the folder of a run, even of one that goes on.

    Exit codes: 0 written, 2 bad input.
    """
    from .. import api

    written = api.report_run(run)
    emit(written.as_json(), as_json, shown(written))

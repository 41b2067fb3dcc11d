"""``gnomon ask``: what to write next for a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._common import emit, handled
from ._telling import Json, Problem, Run


def register(app: typer.Typer) -> None:
    """Add ``ask`` to the command line."""
    app.command("ask")(handled(ask))


def ask(
    run: Run,
    parent: Annotated[str, typer.Option(help="Program to change, by its id; else drawn.")] = "",
    templates: Annotated[
        Path | None, typer.Option("--prompts", help="Folder of your own templates.")
    ] = None,
    problem: Problem = None,
    as_json: Json = False,
) -> None:
    """Print what to write next for a run, with a ticket to tell it with; the run is not changed."""
    from .. import api

    asked = api.ask(run, parent=parent, prompts=templates, problem=problem)
    emit(asked.as_json(), as_json, lambda: print(asked))

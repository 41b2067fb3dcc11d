"""``gnomon prompts``: the templates of all prompts, as files to change."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._common import emit, handled
from ._telling import Json


def register(app: typer.Typer) -> None:
    """Add ``prompts`` to the command line."""
    app.command("prompts")(handled(prompts))


def prompts(
    folder: Annotated[Path, typer.Argument(help="Made when missing.")], as_json: Json = False
) -> None:
    """Write the templates of all prompts into a folder, to be changed there."""
    from ..shadow.search.authors.prompts.templates import write

    paths = [str(path) for path in write(folder)]
    emit({"written": paths}, as_json, lambda: print("\n".join(paths)))

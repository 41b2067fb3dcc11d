"""``gnomon hint``: words for whoever writes the next programs of a run."""

from __future__ import annotations

from typing import Annotated

import typer

from ._common import emit, handled
from ._telling import Json, Run


def register(app: typer.Typer) -> None:
    """Add ``hint`` to the command line."""
    app.command("hint")(handled(hint))


def hint(
    run: Run,
    text: Annotated[str, typer.Argument(help="Words for the writers of all later programs.")],
    as_json: Json = False,
) -> None:
    """Give words to the writers of all later programs of a run; the log keeps them."""
    from .. import api

    words = api.hint(run, text)
    emit({"hint": words}, as_json, lambda: print(f"from now on: {words}"))

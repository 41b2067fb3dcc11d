"""What the commands share that ask and tell: arguments, and what an outcome comes to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._common import Exit

if TYPE_CHECKING:
    from ..shadow.search.authors.telling import Told

Run = Annotated[Path, typer.Argument(help="Folder of the run.")]
Ticket = Annotated[str, typer.Argument(help="Of gnomon ask.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the outcome.")]
Timeout = Annotated[float, typer.Option(help="Most seconds to wait.")]
Problem = Annotated[
    Path | None, typer.Option("--problem", help="Folder that is searched, where it is no trace.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def exit_of(state: Told) -> Exit:
    """Return the exit code that a program's state comes to."""
    if state.scored:
        return Exit.OK
    return Exit.INCONCLUSIVE if state.step < 0 else Exit.NEGATIVE

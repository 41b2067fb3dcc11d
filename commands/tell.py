"""``gnomon tell``: a program for a run, of an agent or a person."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..sdk.errors import ConfigurationError
from ._common import Exit, emit, handled, shown
from ._telling import Json, Problem, Run, Ticket, Timeout, Wait, exit_of


def register(app: typer.Typer) -> None:
    """Add ``tell`` to the command line."""
    app.command("tell")(handled(tell))


def tell(
    run: Run,
    ticket: Ticket,
    file: Annotated[Path, typer.Argument(help="With the program; - for standard input.")],
    author: Annotated[str, typer.Option(help="Who wrote it: agent, person or a name.")] = "agent",
    problem: Problem = None,
    wait: Wait = False,
    timeout: Timeout = math.inf,
    as_json: Json = False,
) -> None:
    """Give a program to a run; what the policy language refuses is refused at once.

    Exit codes: 0 taken, or with --wait it has a score; 1 it has none; 2 refused; 3 it still waits.
    """
    from .. import api

    answer = _stdin() if str(file) == "-" else file
    state = api.tell(run, ticket, answer, author=author, problem=problem)
    if wait:
        state = api.told(run, ticket, wait_s=timeout)
    emit(state.as_json(), as_json, shown(state))
    raise typer.Exit(int(exit_of(state) if wait else Exit.OK))


def _stdin() -> str:
    from ..shadow.search.authors.edits import MOST_ANSWER
    from ..shadow.search.authors.telling import readable

    text = readable(sys.stdin.buffer.read(MOST_ANSWER + 1), "standard input")
    if not text.strip():
        raise ConfigurationError(
            "standard input is empty; give the program there, or name its file"
        )
    return f"{text}\n"  # a text of one line could name a file

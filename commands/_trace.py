"""Options that all commands on a trace share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..sdk.errors import ConfigurationError
from . import _complete

DEFAULT_TRACES = ".gnomon/traces"
TRACES_HELP = "Trace store (folder or URI), or a trace saved as .npz or .trace."

Again = Annotated[str | None, typer.Option("--traces", help="As STORE, for who names it so.")]
Traces = Annotated[str, typer.Option("--traces", help=TRACES_HELP)]
HookName = Annotated[
    str | None,
    typer.Option(
        "--hook",
        help="Its name, or module:attribute of the function.",
        autocompletion=_complete.hooks,
    ),
]
Incumbent = Annotated[
    str | None,
    typer.Option(
        help="baseline:NAME, found:NAME, a file, recorded or module:attribute; else the hook's own.",
        autocompletion=_complete.incumbents,
    ),
]
Invariants = Annotated[
    Path | None,
    typer.Option("--invariants", help="File of suggestions; those confirmed are held to as well."),
]
Isolation = Annotated[
    str,
    typer.Option(
        help="Of untrusted code: strict, or the weaker process.",
        autocompletion=_complete.words("strict", "process"),
    ),
]
Seed = Annotated[int, typer.Option(help="Of all random numbers.")]


def store_of(argument: str, option: str | None) -> str:
    """Return the store that a line names, by argument or option.

    Raises:
        ConfigurationError: it names two.
    """
    if option is not None and argument not in (DEFAULT_TRACES, option):
        raise ConfigurationError(
            f"{argument} and --traces {option} are two stores; name the one that is meant"
        )
    return argument if option is None else option

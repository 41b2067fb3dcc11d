"""Options that all commands on a trace share."""

from __future__ import annotations

from typing import Annotated

import typer

from . import _complete

DEFAULT_TRACES = ".gnomon/traces"
TRACES_HELP = "Trace store (folder or URI), or a trace saved as .npz."

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
        help="baseline:NAME, a file, recorded or module:attribute; else the hook's own function.",
        autocompletion=_complete.incumbents,
    ),
]
Isolation = Annotated[
    str,
    typer.Option(
        help="Of untrusted code: strict, or the weaker process.",
        autocompletion=_complete.words("strict", "process"),
    ),
]
Seed = Annotated[int, typer.Option(help="Of all random numbers.")]

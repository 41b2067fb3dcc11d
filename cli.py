"""The command line: every command is registered by its own module in ``commands/``."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated

import typer

from . import __version__

#: In the order of the loop; ``gnomon --help`` shows them so.
COMMANDS = (
    "demo",
    "record",
    "traces",
    "replay",
    "evolve",
    "verify",
    "keys",
    "serve",
    "ship",
    "rollout",
    "audit",
)

app = typer.Typer(
    name="gnomon",
    help="Tune a production policy from its own traffic: record, replay, evolve, verify, canary.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.callback(epilog="Exit codes: 0 yes · 1 no · 2 bad input · 3 inconclusive · 4 peer unavailable")
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.")
    ] = False,
) -> None:
    """Tune a production policy from its own traffic: record, replay, evolve, verify, canary."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


for _name in COMMANDS:
    import_module(f".commands.{_name}", __package__).register(app)

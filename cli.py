"""The command line: every command is registered by its own module in ``commands/``."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from . import __version__
from .commands._common import add_modules

#: Base of all that is wrong with a command line; where it lives depends on Typer's version.
_UsageError: Any = typer.BadParameter.__base__

#: In the order of the loop; ``gnomon --help`` shows them so.
COMMANDS = (
    "demo",
    "record",
    "traces",
    "policies",
    "replay",
    "offpolicy",
    "evolve",
    "compare",
    "ask",
    "tell",
    "told",
    "hint",
    "prompts",
    "runs",
    "verify",
    "invariants",
    "regressions",
    "holdout",
    "quarantine",
    "keys",
    "serve",
    "ship",
    "rollout",
    "drift",
    "kill",
    "audit",
    "doctor",
)


class OneLine(TyperGroup):
    """The root of the command line: what is wrong with it is said in one line, as all else is."""

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run a command; leave with its exit code unless the caller wants it returned."""
        run: Any = super().main
        if not standalone_mode:
            return run(*args, standalone_mode=False, **extra)
        try:
            code = run(*args, standalone_mode=False, **extra)
        except typer.Abort:
            sys.exit(130)
        except _UsageError as error:
            sys.exit(_told(error))
        sys.exit(code or 0)


def _told(error: Any) -> int:
    """Print a usage error; a group without a command shows its help instead.

    ``gnomon`` alone asks for help and is given it; a group alone lacks its command.
    """
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(error.ctx.get_help())
        return 0 if error.ctx.parent is None else 2
    path = error.ctx.command_path if error.ctx else "gnomon"
    line = " ".join(error.format_message().split())
    print(f"gnomon: {line.rstrip('.')}; see: {path} --help", file=sys.stderr)
    return int(error.exit_code)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


app = typer.Typer(
    name="gnomon",
    cls=OneLine,
    help="Tune a production policy from its own traffic: record, replay, evolve, verify, canary.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _modules(ctx: typer.Context, names: list[str] | None) -> list[str] | None:
    """Have modules imported before a kind is looked up, in processes that are started too."""
    if names and not ctx.resilient_parsing:
        add_modules(names)
    return names


@app.callback(epilog="Exit codes: 0 yes · 1 no · 2 bad input · 3 inconclusive · 4 peer unavailable")
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and leave."
        ),
    ] = False,
    module: Annotated[
        list[str] | None,
        typer.Option(
            callback=_modules,
            help="Module that makes a kind or a simulator known; repeatable; before the command.",
        ),
    ] = None,
) -> None:
    """Tune a production policy from its own traffic: record, replay, evolve, verify, canary."""


for _name in COMMANDS:
    import_module(f".commands.{_name}", __package__).register(app)

"""``gnomon kill``: have the services of this host decide by their own functions, with no control plane."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import api
from ..sdk.errors import ConfigurationError
from ..sdk.kill import Kill, KillFile
from ..sdk.switch import kill as order
from ..sdk.switch import unkill
from . import _complete
from ._common import Exit, console, emit, folded, handled

DEFAULT_FOLDER = Path(".gnomon")


def register(app: typer.Typer) -> None:
    """Add ``kill`` to the command line."""
    app.command("kill")(handled(kill))


def kill(
    hook: Annotated[
        str,
        typer.Argument(
            help="Hook that its own function is to decide.", autocompletion=_complete.hooks
        ),
    ] = "",
    every: Annotated[bool, typer.Option("--all", help="Every hook.")] = False,
    lift: Annotated[
        bool, typer.Option("--lift", help="Take the order back: of HOOK, else all of them.")
    ] = False,
    listed: Annotated[
        bool, typer.Option("--list", help="Show the orders in force; change nothing.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why; it is logged and reported.")] = "",
    by: Annotated[str, typer.Option(help="Who orders it; else $GNOMON_ACTOR, or the user.")] = "",
    state_dir: Annotated[
        Path, typer.Option(envvar="GNOMON_STATE_DIR", help="State folder of the services.")
    ] = DEFAULT_FOLDER,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Stop every policy of a hook on this host; every process with this state folder notices within a second.

    Exit codes: 0 done, 1 lifted, but another order still stops the hook, 2 bad input.
    """
    _check(hook, every, lift, listed, reason)
    file = KillFile(state_dir)
    if listed:
        found = file.listed()
    elif lift:
        found = unkill(hook or None, state_dir=state_dir)
    else:
        found = order(hook or None, reason=reason, by=by or str(api.acting()), state_dir=state_dir)
        _note_unknown(hook, state_dir)
    rows = [_row(each) for each in found]
    emit({"file": str(file.path), "kills": rows}, as_json, lambda: _print(file.path, rows))
    if lift and hook and any(each.covers(hook) for each in found):
        raise typer.Exit(int(Exit.NEGATIVE))


def _check(hook: str, every: bool, lift: bool, listed: bool, reason: str) -> None:
    """Refuse options that do not go together."""
    if hook and every:
        raise ConfigurationError(f"HOOK {hook!r} and --all: name one hook, or all of them")
    if lift and listed:
        raise ConfigurationError("--lift and --list: choose one of them")
    if not (hook or every or lift or listed):
        raise ConfigurationError("nothing to kill: name a hook, or --all")
    if not (lift or listed or reason.strip()):
        raise ConfigurationError("a kill needs a reason: say why with --reason")


def _note_unknown(hook: str, state_dir: Path) -> None:
    """Say on standard error that no process has kept a policy (for this hook) here; that may be a slip."""
    from urllib.parse import unquote

    kept = {unquote(p.stem) for p in state_dir.glob("delivery/hooks/*.state")}
    if not kept and not state_dir.joinpath("delivery").exists():
        where = f"{state_dir} is no state folder that a service has kept a policy in"
        print(f"gnomon: {where}; if theirs is another, name it with --state-dir", file=sys.stderr)
    if hook and kept and hook not in kept:
        names = ", ".join(sorted(kept))
        print(f"gnomon: no policy for {hook!r} was kept here, but for {names}", file=sys.stderr)


def _row(found: Kill) -> dict[str, Any]:
    return {
        "hook": found.hook or "*",
        "reason": found.reason,
        "by": found.by,
        "since_ns": found.since_ns,
    }


def _print(path: os.PathLike[str], rows: list[dict[str, Any]]) -> None:
    if not rows:
        print(f"nothing is killed by {path}")
        return
    from rich.table import Table

    view = Table("hook", "since", "by", "reason")
    for row in rows:
        since = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(row["since_ns"] / 1e9))
        hook = "all hooks" if row["hook"] == "*" else row["hook"]
        view.add_row(hook, since, row["by"], row["reason"])
    console().print(folded(view))
    print(f"by {path}")

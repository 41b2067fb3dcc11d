"""``gnomon traces compact`` and ``gnomon traces prune``: fewer files, and less of them."""

from __future__ import annotations

from typing import Annotated

import typer

from . import _complete, _trace
from ._common import Exit, emit, shown

_Store = Annotated[str, typer.Argument(help="Trace store: a folder or a URI.")]
_Hook = Annotated[str | None, typer.Option(help="Only this hook.", autocompletion=_complete.hooks)]
_Dry = Annotated[bool, typer.Option("--dry-run", help="Change nothing; say what would be done.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def compact(
    store: _Store = _trace.DEFAULT_TRACES,
    hook: _Hook = None,
    older_than: Annotated[
        str, typer.Option(help="Only hours that ended, and were last written, so long ago.")
    ] = "2h",
    dry_run: _Dry = False,
    as_json: _Json = False,
) -> None:
    """Merge the small files of each closed hour into one, and join late outcomes to their decisions.

    Recorders and readers may go on. Exit codes: 0 done, 1 some files are damaged and were left, 2 bad input.
    """
    from .. import api
    from ._rollout import seconds

    found = api.compact(store, hook, older_than_s=seconds(older_than), dry_run=dry_run)
    emit(found.as_json(), as_json, shown(found))
    if found.damaged:
        raise typer.Exit(int(Exit.NEGATIVE))


def prune(
    store: _Store = _trace.DEFAULT_TRACES,
    hook: _Hook = None,
    older_than: Annotated[
        str | None, typer.Option(help="Remove hours that ended so long ago, as in 30d.")
    ] = None,
    max_bytes: Annotated[
        str | None, typer.Option(help="Remove the oldest hours until so much is left, as in 50G.")
    ] = None,
    dry_run: _Dry = False,
    as_json: _Json = False,
) -> None:
    """Remove whole hours from a trace store, the oldest first.

    Exit codes: 0 done, 1 more than --max-bytes is left because the hour has not ended, 2 bad input.
    """
    from .. import api
    from ._amounts import age, bytes_of

    most = bytes_of(max_bytes)
    found = api.prune(store, hook, older_than_s=age(older_than), max_bytes=most, dry_run=dry_run)
    emit(found.as_json(), as_json, shown(found))
    if most is not None and found.bytes > most:
        raise typer.Exit(int(Exit.NEGATIVE))

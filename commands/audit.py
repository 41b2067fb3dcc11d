"""``gnomon audit``: verify, list, explain and export a ledger, local or the control plane's."""

from __future__ import annotations

import json
import sys
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from ..api import LEDGER, existing_ledger
from ..sdk.errors import ConfigurationError
from . import _complete, _rollout
from ._common import Exit, console, emit, fail, folded, handled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..policies.rollout.client import RolloutClient
    from ..policies.rollout.ledger import Entry, Ledger, LedgerCheck


_LEAST_DIGEST = 8
NOTHING = "nothing to verify: the ledger holds no entries"

LedgerFile = Annotated[
    Path, typer.Option("--ledger", help="Ledger's file; not with --control-plane.")
]
Address = Annotated[
    str, typer.Option("--control-plane", help="HOST:PORT; read its ledger instead.")
]


class _Source(Protocol):
    """A ledger, wherever it lies."""

    def verify(self, anchor: str) -> LedgerCheck: ...

    def entries(self) -> list[Entry]: ...


def register(app: typer.Typer) -> None:
    """Add the group ``audit`` to the command line."""
    group = typer.Typer(help="Verify and read a ledger.", no_args_is_help=True)
    group.command("verify")(handled(verify))
    group.command("list")(handled(list_entries))
    group.command("explain")(handled(explain))
    group.command("export")(handled(export))
    app.add_typer(group, name="audit")


def verify(
    anchor: Annotated[str, typer.Option(help="SEQ:HASH kept outside; must be in the chain.")] = "",
    ledger: LedgerFile = LEDGER,
    control_plane: Address = "",
    as_json: _rollout.Json = False,
) -> None:
    """Verify the whole chain: 0 it holds or is empty (and says so), 1 it does not."""
    with _open(ledger, control_plane) as source:
        check = source.verify(anchor)
    head = f"{check.entries}:{check.head.hex()}"
    data = {
        "ok": check.ok,
        "entries": check.entries,
        "head": head,
        "problem": check.problem,
        "problem_seq": check.problem_seq,
    }
    holds = f"{check.entries} entries hold, head {head}" if check.entries else NOTHING
    emit(data, as_json, lambda: print(holds if check.ok else check.problem))
    raise typer.Exit(int(Exit.OK if check.ok else Exit.NEGATIVE))


def list_entries(
    kind: Annotated[
        str,
        typer.Option(
            help="Only this kind and kinds below it.", autocompletion=_complete.entry_kinds
        ),
    ] = "",
    limit: Annotated[int, typer.Option(min=0, help="At most so many, the newest; 0 for all.")] = 50,
    ledger: LedgerFile = LEDGER,
    control_plane: Address = "",
    as_json: _rollout.Json = False,
) -> None:
    """List entries, oldest first."""
    with _open(ledger, control_plane) as source:
        entries = [e for e in source.entries() if not kind or (e.kind + ".").startswith(kind + ".")]
    of_kind = f" of kind {kind}" if kind else ""
    newest = entries[-limit:] if limit > 0 else entries
    _emit_entries(newest, as_json, f"the ledger holds no entries{of_kind}")


def explain(
    digest: Annotated[
        str,
        typer.Argument(
            help="Digest or rollout; 8 characters are enough.",
            autocompletion=_complete.subjects,
        ),
    ],
    ledger: LedgerFile = LEDGER,
    control_plane: Address = "",
    as_json: _rollout.Json = False,
) -> None:
    """Show everything that led to a digest or rollout, with its evidence: 1 when nothing did."""
    from ..policies.rollout.ledger import elsewhere, explained

    if len(digest) < _LEAST_DIGEST:
        raise ConfigurationError(
            f"{digest!r} is too short; give {_LEAST_DIGEST} characters or more"
        )
    with _open(ledger, control_plane) as source:
        entries = explained(source.entries(), digest)
    _emit_entries(entries, as_json, "")
    if not entries:
        other = f"or ask another ledger ({_other(control_plane)})"
        fail(f"nothing here led to {digest}; see gnomon audit list, {other}", Exit.NEGATIVE)
    if not as_json:
        _say_elsewhere(elsewhere(entries), control_plane)


def export(
    out: Annotated[Path | None, typer.Option(help="File; standard output when left out.")] = None,
    ledger: LedgerFile = LEDGER,
    control_plane: Address = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="With --out: say as JSON what was written.")
    ] = False,
) -> None:
    """Write all entries as JSON, one a line; a file is written whole or not at all."""
    from ..sdk.state import write_atomically

    with _open(ledger, control_plane) as source:
        lines = [json.dumps(entry.as_json(), sort_keys=True) + "\n" for entry in source.entries()]
    if out is None:
        sys.stdout.writelines(lines)
        return
    write_atomically(out, "".join(lines).encode())
    data = {"entries": len(lines), "out": str(out)}
    emit(data, as_json, lambda: print(f"{len(lines)} entries in {out}"))


def _other(control_plane: str) -> str:
    return "--ledger FILE" if control_plane else "--control-plane HOST:PORT"


def _say_elsewhere(verdicts: tuple[str, ...], control_plane: str) -> None:
    """Say what may stand in the project's ledger, or in the control plane's."""
    if verdicts:
        for digest in verdicts:
            print(
                f"verdict {digest[:16]}: in another ledger, ask gnomon audit explain {digest[:16]}"
            )
        return
    print(f"Another ledger may hold more ({_other(control_plane)}).")


class _Local:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def verify(self, anchor: str) -> LedgerCheck:
        return self._ledger.verify(anchor)

    def entries(self) -> list[Entry]:
        return self._ledger.list()


class _Remote:
    """The control plane's ledger, verified here: its own word for it is not asked."""

    def __init__(self, client: RolloutClient) -> None:
        self._client = client

    def verify(self, anchor: str) -> LedgerCheck:
        from ..policies.rollout.ledger import check_entries

        return check_entries(self._client.entries(), anchor)

    def entries(self) -> list[Entry]:
        return list(self._client.entries())


@contextmanager
def _open(ledger: Path, control_plane: str) -> Iterator[_Source]:
    if control_plane:
        with _rollout.connect(control_plane) as client:
            yield _Remote(client)
        return
    with closing(existing_ledger(ledger)) as found:
        yield _Local(found)


def _emit_entries(entries: list[Entry], as_json: bool, when_none: str) -> None:
    emit([entry.as_json() for entry in entries], as_json, lambda: _print(entries, when_none))


def _print(entries: list[Entry], when_none: str) -> None:
    if not entries:
        print(when_none, end="\n" if when_none else "")
        return
    from rich.table import Table

    view = Table("seq", "time", "kind", "actor", "subject", "what")
    for entry in entries:
        time = datetime.fromtimestamp(entry.time_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S")
        what = _what(entry.body)
        view.add_row(str(entry.seq), time, entry.kind, entry.actor, entry.subject[:16], what)
    console().print(folded(view))


def _what(body: Any) -> str:
    if "from" in body and "to" in body:
        order = f" by {body['order']}" if body.get("order") else ""
        return f"{body['from']} -> {body['to']}{order}: {body.get('cause', '')}"
    for name in ("summary", "reason", "error", "calibration", "candidate"):
        if body.get(name):
            return str(body[name])
    return json.dumps(body, sort_keys=True)[:120]

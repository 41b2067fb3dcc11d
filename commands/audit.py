"""``gnomon audit``: verify, list, explain and export a ledger, local or the control plane's."""

from __future__ import annotations

from typing import Annotated

import typer

from ..api import LEDGER
from ..sdk.errors import ConfigurationError
from . import _audit, _audit_export, _audit_trust, _audit_who, _complete, _rollout
from ._common import Exit, fail, handled

_LEAST_DIGEST = 8


def register(app: typer.Typer) -> None:
    """Add the group ``audit`` to the command line."""
    group = typer.Typer(help="Verify and read a ledger.", no_args_is_help=True)
    group.command("who")(handled(_audit_who.who))
    group.command("verify")(handled(_audit_trust.verify))
    group.command("list")(handled(list_entries))
    group.command("explain")(handled(explain))
    group.command("export")(handled(_audit_export.export))
    group.command("checkpoint")(handled(_audit_trust.checkpoint))
    group.command("accept")(handled(_audit_trust.accept))
    app.add_typer(group, name="audit")


def list_entries(
    kind: _audit.Kinds = "",
    since: _audit.Since = "",
    limit: Annotated[int, typer.Option(min=0, help="At most so many, the newest; 0 for all.")] = 50,
    ledger: _audit.LedgerFile = LEDGER,
    control_plane: _audit.Address = "",
    as_json: _rollout.Json = False,
) -> None:
    """List entries, oldest first."""
    with _audit.opened(ledger, control_plane) as source:
        entries = _audit.chosen(source.entries(), kind, since)
    of_kind = f" of kind {kind}" if kind else ""
    later = f" since {since}" if since else ""
    newest = entries[-limit:] if limit > 0 else entries
    _audit.emit_entries(newest, as_json, f"the ledger holds no entries{of_kind}{later}")


def explain(
    digest: Annotated[
        str,
        typer.Argument(
            help="Digest or rollout; 8 characters are enough.",
            autocompletion=_complete.subjects,
        ),
    ],
    ledger: _audit.LedgerFile = LEDGER,
    control_plane: _audit.Address = "",
    as_json: _rollout.Json = False,
) -> None:
    """Show everything that led to a digest or rollout, with its evidence: 1 when nothing did."""
    from ..policies.rollout.explaining import elsewhere, explained

    if len(digest) < _LEAST_DIGEST:
        raise ConfigurationError(
            f"{digest!r} is too short; give {_LEAST_DIGEST} characters or more"
        )
    with _audit.opened(ledger, control_plane) as source:
        entries = explained(source.entries(), digest)
    _audit.emit_entries(entries, as_json, "")
    if not entries:
        other = f"or ask another ledger ({_other(control_plane)})"
        fail(f"nothing here led to {digest}; see gnomon audit list, {other}", Exit.NEGATIVE)
    if not as_json:
        _say_elsewhere(elsewhere(entries), control_plane)


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

"""``gnomon rollout``: look at rollouts and steer them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import api
from ..sdk.errors import GnomonError
from . import _complete, _rollout
from ._common import console, emit, folded, handled, shown

if TYPE_CHECKING:
    from gnomon.v1 import rollouts_pb2

Id = Annotated[
    str,
    typer.Argument(
        help="Rollout; the newest one when left out.", autocompletion=_complete.rollouts
    ),
]
Reason = Annotated[str, typer.Option(help="Why, for the ledger.")]

#: Times as the wire carries them.
MOST_NS = (1 << 63) - 1
_ASK_AGAIN = "ask again with: gnomon rollout status"
#: Orders without words of their own; the help of each.
ORDERS = {
    "hold": "Take the candidate back for now; resume goes on.",
    "resume": "Go on where a hold by hand, a refusal or a silence stopped it.",
    "promote": "Go to full weight past the evidence; needs --reason, recorded as an override.",
    "abort": "Take the candidate back for good.",
    "retry": "Begin again with fresh randomness and no evidence.",
    "kill": "Withdraw every policy: the services' own function decides; needs --reason.",
    "recalibrated": "Record that the simulator was recalibrated, so that plans are taken again.",
}


def register(app: typer.Typer) -> None:
    """Add the group ``rollout`` to the command line."""
    group = typer.Typer(help="Look at rollouts and steer them.", no_args_is_help=True)
    group.command("status")(handled(status))
    group.command("watch")(handled(watch))
    group.command("clients")(handled(clients))
    group.command("exclude")(handled(exclude))
    group.command("reverified")(handled(reverified))
    for action, text in ORDERS.items():
        group.command(action, help=text)(handled(_order(action)))
    app.add_typer(group, name="rollout")


def status(
    rollout: Id = "",
    control_plane: _rollout.Address = _rollout.DEFAULT_ADDRESS,
    as_json: _rollout.Json = False,
) -> None:
    """Show a rollout."""
    _rollout.quiet()
    found = api.rollout(rollout, control_plane)
    emit(found.as_json(), as_json, shown(found))
    _warn_of_disputes(control_plane)


def _warn_of_disputes(control_plane: str) -> None:
    """Say on standard error where processes remember another ledger than the control plane has."""
    with _rollout.connect(control_plane) as client:
        try:
            disputes = client.anchors().disputes
        except GnomonError:
            return  # an older control plane, or one that lets us see the rollouts alone
    for each in disputes:
        line = f"LEDGER IN DISPUTE: {', '.join(each.instances)} remember {each.anchor[:32]}, but {each.problem}"
        print(f"{line}; see gnomon audit verify --control-plane {control_plane}", file=sys.stderr)


def watch(
    rollout: Id = "",
    control_plane: _rollout.Address = _rollout.DEFAULT_ADDRESS,
    as_json: _rollout.Json = False,
) -> None:
    """Watch a rollout until it is decided: 0 promoted, 1 aborted, 3 held, or to be verified again.

    With --json every change is one line on standard output, the last one how it ended.
    """
    if as_json:
        found = _rollout.follow_lines(rollout, control_plane)
    else:
        found = _rollout.follow_live(rollout, control_plane)
        shown(found)()
    raise typer.Exit(int(_rollout.exit_code(found)))


def clients(
    hook: Annotated[
        str,
        typer.Option(help="Only processes with this hook.", autocompletion=_complete.hooks),
    ] = "",
    control_plane: _rollout.Address = _rollout.DEFAULT_ADDRESS,
    as_json: _rollout.Json = False,
) -> None:
    """List the processes that the control plane has heard of."""
    with _rollout.connect(control_plane) as client:
        rows = [_client(found) for found in client.clients(hook)]
    emit(rows, as_json, lambda: _print_clients(rows))


def exclude(
    hook: Annotated[
        str,
        typer.Argument(help="Hook whose blocks are left out.", autocompletion=_complete.hooks),
    ],
    from_ns: Annotated[int, typer.Option(min=0, max=MOST_NS, help="Unix nanoseconds.")],
    to_ns: Annotated[int, typer.Option(min=0, max=MOST_NS, help="Unix nanoseconds, not included.")],
    reason: Annotated[str, typer.Option(help="One that knows nothing of the outcome.")],
    control_plane: _rollout.Address = _rollout.DEFAULT_ADDRESS,
    as_json: _rollout.Json = False,
) -> None:
    """Leave a stretch of time out of both arms of a canary."""
    with _rollout.connect(control_plane) as client:
        blocks = client.exclude(hook, from_ns, to_ns, reason, api.acting())
    emit({"blocks": blocks}, as_json, lambda: print(f"{blocks} blocks left out"))


def reverified(
    hook: Annotated[
        str,
        typer.Argument(help="Hook of the policy.", autocompletion=_complete.hooks),
    ],
    verdict: Annotated[Path, typer.Option(help="Fresh verdict that accepts it.")],
    key: Annotated[Path, typer.Option(help="The publisher's private key (.pem).")],
    ledger: Annotated[Path, typer.Option(help="Ledger that holds the verdict.")] = api.LEDGER,
    control_plane: _rollout.Address = _rollout.DEFAULT_ADDRESS,
    as_json: _rollout.Json = False,
) -> None:
    """Answer a notice: a fresh verdict accepts the policy in force, on newer traffic; it is signed."""
    _rollout.quiet()
    found = api.reverified(hook, verdict, control_plane, publisher_key=key, ledger=ledger)
    emit(found.as_json(), as_json, shown(found))


def _order(action: str) -> Callable[..., None]:
    def order(
        rollout: Id = "",
        reason: Reason = "",
        control_plane: _rollout.Address = _rollout.DEFAULT_ADDRESS,
        as_json: _rollout.Json = False,
    ) -> None:
        _rollout.quiet()
        found = api.rollout(rollout, control_plane, order=action, reason=reason)
        emit(found.as_json(), as_json, shown(found))
        if found.acked < found.clients:
            late = f"{found.clients - found.acked} of {found.clients} processes"
            print(f"{late} have not acknowledged yet; {_ASK_AGAIN}", file=sys.stderr)

    return order


def _client(found: rollouts_pb2.Client) -> dict[str, Any]:
    return {
        "service": found.service,
        "instance": found.instance,
        "cell": found.cell,
        "epoch": found.epoch,
        "connected": found.connected,
        "last_error": found.last_error,
        "killed": found.killed,
    }


def _print_clients(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    view = Table("service", "instance", "cell", "epoch", "connected", "last error", "killed")
    for row in rows:
        view.add_row(*(str(value) for value in row.values()))
    console().print(folded(view))

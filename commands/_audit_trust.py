"""``gnomon audit verify``, ``checkpoint`` and ``accept``: whether a ledger is whole, and still the same."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..api import CONTROL_PLANE, LEDGER, acting
from ..sdk.errors import ConfigurationError, RolloutError
from . import _audit, _rollout
from ._common import Exit, emit

if TYPE_CHECKING:
    from ..policies.rollout.chain import LedgerCheck

NOTHING = "nothing to verify: the ledger holds no entries"


def verify(
    anchor: Annotated[
        list[str] | None, typer.Option(help="SEQ:HASH kept outside; must be in the chain.")
    ] = None,
    anchors_from: Annotated[
        list[Path] | None,
        typer.Option(help="State folder of a service; what it was told must be in the chain."),
    ] = None,
    checkpoint: Annotated[
        list[Path] | None, typer.Option(help="Signed checkpoint; must be in the chain.")
    ] = None,
    trust: Annotated[
        list[Path] | None, typer.Option(help="Public key that may have signed checkpoints.")
    ] = None,
    ledger: _audit.LedgerFile = LEDGER,
    control_plane: _audit.Address = "",
    as_json: _rollout.Json = False,
) -> None:
    """Verify the whole chain: 0 it holds or is empty (and says so), 1 it does not.

    Of a control plane, what its connected processes remember must be in the chain too.
    """
    known = [*(anchor or ()), *_remembered(anchors_from or [])]
    known += _signed(checkpoint or [], trust or [])
    with _audit.opened(ledger, control_plane) as source:
        told, disputes = _witnesses(source)
        check = source.verify([*known, *told], _progress)
    ok = check.ok and not disputes
    problem = check.problem or "; ".join(disputes)
    head = f"{check.entries}:{check.head.hex()}"
    data = {
        "ok": ok,
        "entries": check.entries,
        "head": head,
        "anchors": len(known) + len(told),
        "problem": problem,
        "problem_seq": check.problem_seq,
    }
    good = _holds(check, head, len(known), len(told))
    emit(data, as_json, lambda: print(good if ok else problem))
    raise typer.Exit(int(Exit.OK if ok else Exit.NEGATIVE))


def checkpoint(
    key: Annotated[Path, typer.Option(help="Private key that signs; keep it off this machine.")],
    out: Annotated[Path, typer.Option(help="File that takes the checkpoint; must not exist.")],
    ledger: _audit.LedgerFile = LEDGER,
    control_plane: _audit.Address = "",
    as_json: _rollout.Json = False,
) -> None:
    """Sign the head of a ledger that holds, to be kept elsewhere; see verify --checkpoint."""
    from ..policies.rollout.checkpoints import save_checkpoint
    from ..sdk import keys

    private = keys.load_private(key)
    if out.exists():
        raise ConfigurationError(f"{out} exists already; name another file")
    with _audit.opened(ledger, control_plane) as source:
        head = source.head()
    if not head:
        raise ConfigurationError("the ledger holds no entries; there is nothing to sign yet")
    save_checkpoint(out, head, time.time_ns(), private)
    data = {"anchor": head, "out": str(out), "keyid": keys.keyid(private.public_key())}
    emit(data, as_json, lambda: print(f"head {head} signed in {out}"))


def accept(
    reason: Annotated[str, typer.Option(help="Why, for the ledger; such as which backup it was.")],
    control_plane: _rollout.Address = CONTROL_PLANE,
    as_json: _rollout.Json = False,
) -> None:
    """Take what processes remember and the ledger does not hold as lost, after a restored backup."""
    with _rollout.connect(control_plane) as client:
        before = client.anchors().disputes
        client.accept(acting(), reason)
    data = {"accepted": [each.anchor for each in before]}
    emit(data, as_json, lambda: print(f"{len(before)} anchors are taken as lost"))


def _remembered(folders: list[Path]) -> list[str]:
    from ..sdk.witness import read_anchors

    found: list[str] = []
    for folder in folders:
        here = [each.text for each in read_anchors(folder)]
        if not here:
            raise ConfigurationError(f"{folder} holds no anchors; name a service's state folder")
        found += here
    return found


def _signed(checkpoints: list[Path], trust: list[Path]) -> list[str]:
    from ..policies.rollout.checkpoints import load_checkpoint
    from ..sdk import keys

    if checkpoints and not trust:
        raise ConfigurationError("a checkpoint needs the key that signed it; name it with --trust")
    known = keys.load_publics(trust)
    return [load_checkpoint(path, known).anchor for path in checkpoints]


def _witnesses(source: Any) -> tuple[list[str], list[str]]:
    """Return what connected processes remember, and what of it is in dispute, of a control plane."""
    if not isinstance(source, _audit.Remote):
        return [], []
    try:
        found = source.client.anchors()
    except RolloutError:
        return [], []  # an older control plane, which asks nobody
    disputed = {each.anchor for each in found.disputes}
    lines = [
        f"{', '.join(each.instances)} remember {each.anchor[:32]}, but {each.problem}"
        for each in found.disputes
    ]
    told = {each.anchor for each in found.witnesses} - disputed
    return sorted(told), lines


def _holds(check: LedgerCheck, head: str, known: int, told: int) -> str:
    if not check.entries:
        return NOTHING
    kept = f", and {known} anchors kept outside" if known else ""
    said = f", and {told} that processes remember" if told else ""
    return f"{check.entries} entries hold{kept}{said}, head {head}"


def _progress(count: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{count} entries hold so far", end="\r", file=sys.stderr, flush=True)

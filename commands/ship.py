"""``gnomon ship``: sign a verified policy with its ramp plan and hand it to the control plane."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..api import LEDGER
from . import _ramp, _rollout
from ._common import emit, handled, shown


def register(app: typer.Typer) -> None:
    """Add ``ship`` to the command line."""
    app.command("ship")(handled(ship))


def ship(
    policy: Annotated[Path, typer.Argument(help="A bundle (.bundle), or a policy's source file.")],
    verdict: Annotated[Path, typer.Option(help="Verdict that accepts it.")],
    key: Annotated[Path, typer.Option(help="The publisher's private key (.pem).")],
    rollout_key: _ramp.RolloutKey = None,
    control_plane: _rollout.Address = _rollout.DEFAULT_ADDRESS,
    ledger: Annotated[Path, typer.Option(help="Ledger that holds the verdict.")] = LEDGER,
    weights: Annotated[str, typer.Option(help="Shares of the candidate, ascending.")] = "0.5,1.0",
    block: Annotated[str, typer.Option(help="Length of a switchback block.")] = "10s",
    burn_in: Annotated[str, typer.Option(help="Start of a block, not measured.")] = "1s",
    skew: Annotated[str, typer.Option(help="End of a block, not measured.")] = "250ms",
    soak: Annotated[str, typer.Option(help="Time under watch at full weight.")] = "60s",
    lease: Annotated[str, typer.Option(help="Time a process runs it unrenewed.")] = "15s",
    valid: Annotated[str, typer.Option(help="Time that the plan is good for.")] = "7d",
    min_pairs: Annotated[int, typer.Option(help="Pairs of blocks that every step counts.")] = 8,
    max_pairs: Annotated[int, typer.Option(help="Pairs after which undecided is HOLD.")] = 60,
    slices: Annotated[int, typer.Option(help="Sticky arms: slices of the units.")] = 1000,
    max_looks: _ramp.MaxLooks = 100,
    shadow_decisions: Annotated[int, typer.Option(help="Live shadow ends after so many.")] = 1000,
    shadow_rate: _ramp.ShadowRate = None,
    alpha: Annotated[float, typer.Option(help="Level of promotion, and of abort.")] = 0.025,
    expires: _ramp.Expires = "90d",
    drift: _ramp.Drift = 0.25,
    drift_window: Annotated[str, typer.Option(help="Traffic that one index is of.")] = "1d",
    drift_windows: Annotated[int, typer.Option(help="In a row beyond it, to count.")] = 7,
    grace: Annotated[str, typer.Option(help="Time to verify again.")] = "14d",
    then: _ramp.Then = "incumbent",
    override: _ramp.Override = "",
    bundle_out: _ramp.BundleOut = None,
    follow: Annotated[bool, typer.Option(help="Watch until it is decided.")] = False,
    as_json: _rollout.Json = False,
) -> None:
    """Ship a verified policy: sign it with its ramp plan and begin its rollout.

    Exit codes: 0 begun, 2 bad input or refused, 4 control plane unavailable. With --follow:
    0 promoted, 1 aborted, 3 held or inconclusive.
    """
    from .. import api

    ramp = _ramp.Given(
        *(weights, block, burn_in, skew, soak, lease, valid),
        *(min_pairs, max_pairs, slices, max_looks, shadow_decisions, shadow_rate, alpha),
        *(expires, drift, drift_window, drift_windows, grace, then),
    ).ramp()
    _rollout.quiet()
    shipped = api.ship(
        verdict,
        control_plane,
        publisher_key=key,
        rollout_key=rollout_key,
        policy=policy,
        ramp=ramp,
        ledger=ledger,
        override=override,
        bundle_out=bundle_out,
    )
    if not follow:
        emit(shipped.as_json(), as_json, shown(shipped))
        return
    found = _rollout.follow_live(shipped.id, control_plane)
    emit(shipped.as_json() | found.as_json(), as_json, shown(found))
    raise typer.Exit(int(_rollout.exit_code(found)))

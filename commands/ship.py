"""``gnomon ship``: sign a verified policy with its ramp plan and hand it to the control plane."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ..sdk.errors import ConfigurationError, GnomonError, TrustError
from . import _rollout
from ._common import emit, handled
from ._ramp import ramp_of


def register(app: typer.Typer) -> None:
    """Add ``ship`` to the command line."""
    app.command("ship")(handled(ship))


def ship(
    policy: Annotated[Path, typer.Argument(help="A bundle (.bundle), or a policy's source file.")],
    verdict: Annotated[Path, typer.Option(help="Verdict that accepts it.")],
    key: Annotated[Path, typer.Option(help="The publisher's private key (.pem).")],
    rollout_key: Annotated[
        Path | None,
        typer.Option(help="Public key of the control plane; else rollout.pub beside --key."),
    ] = None,
    control_plane: _rollout.Address = _rollout.DEFAULT_ADDRESS,
    ledger: Annotated[Path, typer.Option(help="Ledger that holds the verdict.")] = Path(
        ".gnomon/ledger.db"
    ),
    weights: Annotated[str, typer.Option(help="Shares of the candidate, ascending.")] = "0.5,1.0",
    block: Annotated[str, typer.Option(help="Length of a switchback block.")] = "10s",
    burn_in: Annotated[str, typer.Option(help="Start of a block, not measured.")] = "1s",
    skew: Annotated[str, typer.Option(help="End of a block, not measured.")] = "250ms",
    soak: Annotated[str, typer.Option(help="Time under watch at full weight.")] = "60s",
    lease: Annotated[str, typer.Option(help="Time a process runs it unrenewed.")] = "15s",
    valid: Annotated[str, typer.Option(help="Time that the plan is good for.")] = "7d",
    min_pairs: Annotated[int, typer.Option(help="Pairs of blocks that every step counts.")] = 8,
    max_pairs: Annotated[int, typer.Option(help="Pairs after which undecided is HOLD.")] = 60,
    shadow_decisions: Annotated[int, typer.Option(help="Live shadow ends after so many.")] = 1000,
    shadow_rate: Annotated[float, typer.Option(help="Share that live shadow computes.")] = 0.1,
    alpha: Annotated[float, typer.Option(help="Level of promotion, and of abort.")] = 0.025,
    override: Annotated[
        str, typer.Option(help="Reason to ship what was not accepted; it stays in the bundle.")
    ] = "",
    bundle_out: Annotated[
        Path | None, typer.Option(help="File that also receives the signed bundle.")
    ] = None,
    follow: Annotated[bool, typer.Option(help="Watch until it is decided.")] = False,
    as_json: _rollout.Json = False,
) -> None:
    """Ship a verified policy: sign it with its ramp plan and begin its rollout.

    Exit codes: 0 begun, 2 bad input or refused, 4 control plane unavailable. With --follow:
    0 promoted, 1 aborted, 3 held or inconclusive.
    """
    from .. import api

    ramp = ramp_of(
        weights,
        {
            "--block": block,
            "--burn-in": burn_in,
            "--skew": skew,
            "--soak": soak,
            "--lease": lease,
            "--valid": valid,
        },
        {
            "--min-pairs": min_pairs,
            "--max-pairs": max_pairs,
            "--shadow-decisions": shadow_decisions,
        },
        alpha=alpha,
        shadow_rate=shadow_rate,
    )
    _require_whole(policy, key)
    _rollout.quiet()
    with _naming(key, policy, control_plane):
        found = api.ship(
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
    if follow:
        with _rollout.connect(control_plane) as client:
            found = _rollout.follow_live(client, found.id)
    emit(_rollout.as_data(found), as_json, lambda: _rollout.show(found))
    if follow:
        raise typer.Exit(int(_rollout.exit_code(found)))


def _require_whole(policy: Path, key: Path) -> None:
    """Refuse a bundle file that is damaged; one that another key signed is the server's to judge."""
    from ..sdk import bundle, dsse, keys

    if policy.suffix != bundle.SUFFIX or not policy.exists():
        return
    try:
        envelope = bundle.load_bundle(policy)
        bundle.read_bundle(envelope.payload)
        public = keys.load_private(key).public_key()
        if any(found.keyid == keys.keyid(public) for found in envelope.signatures):
            dsse.verify(envelope, dsse.BUNDLE_TYPE, [public])
    except GnomonError as error:
        if str(key) in str(error):
            raise
        raise ConfigurationError(
            f"{policy} is no bundle, or a damaged one ({error}); give the policy's source file, "
            "which is signed anew"
        ) from error


@contextmanager
def _naming(key: Path, policy: Path, control_plane: str) -> Iterator[None]:
    """Let a refusal of a signature say by which file it came."""
    from ..sdk import keys

    try:
        yield
    except TrustError as error:
        if "not a trusted key" not in str(error):
            raise
        own = keys.keyid(keys.load_private(key).public_key())[:16]
        signed = (
            f"--key {key} (keyid {own})" if own in str(error) else f"the key that signed {policy}"
        )
        raise TrustError(
            f"{signed} is not trusted by control plane {control_plane}; sign with another key, or "
            "start it with this one as --publisher-key"
        ) from error

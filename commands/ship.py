"""``gnomon ship``: sign a verified policy with its ramp plan and hand it to the control plane."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..sdk.errors import ConfigurationError, RolloutError
from . import _rollout
from ._common import emit, handled

if TYPE_CHECKING:
    from gnomon.v1 import policy_pb2, rollouts_pb2

    from ..policies.rollout.client import RolloutClient
    from ..policies.rollout.shipping import Ramp
    from ..sdk.kind import Kind
    from ..shadow.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Keys:
    """Files of keys.

    Attributes:
        publisher: private key that signs bundle and plan.
        rollout: public key that may sign manifests under the plan; beside the publisher's as
            ``rollout.pub`` when None.
    """

    publisher: Path
    rollout: Path | None = None


def register(app: typer.Typer) -> None:
    """Add ``ship`` to the command line."""
    app.command("ship")(handled(command))


def ship(
    client: RolloutClient,
    policy: Path,
    verdict: Verdict,
    ramp: Ramp,
    keys: Keys,
    *,
    kind: Kind | None = None,
    actor: str = "",
    clock: Callable[[], int] = time.time_ns,
) -> rollouts_pb2.Rollout:
    """Ship a policy that a verdict accepts; return the rollout as begun.

    Args:
        client: of the control plane.
        policy: a bundle file, or a source file, of which the bundle is built.
        verdict: as loaded through the ledger that vouches for it.
        ramp: how the policy may take over.
        keys: to sign with and to be bound to.
        kind: of the hook; looked up by the verdict's words when None.
        actor: who ships.
        clock: gives Unix nanoseconds.

    Raises:
        RolloutError: the verdict does not accept this policy, or the control plane refuses.
        TrustError: a signature or digest does not hold.
        UnavailableError: the control plane cannot be reached.
    """
    from ..policies.rollout import shipping
    from ..policies.rollout.evidence import Effect
    from ..sdk import keys as key_files

    publisher = key_files.load_private(keys.publisher)
    rollout_key = key_files.load_public(keys.rollout or keys.publisher.with_name("rollout.pub"))
    kind = kind or _kind(verdict)
    bundle = _bundle(policy, verdict, kind, publisher)
    predicted = {name: Effect(**effect) for name, effect in verdict.predicted.items()}
    plan = shipping.build_plan(
        ramp,
        bundle.payload,
        kind,
        rollout_key,
        clock(),
        stable=client.stable(verdict.hook),
        predicted=predicted,
    )
    return client.create(bundle, shipping.sign_plan(plan, publisher), actor)


def command(
    policy: Annotated[Path, typer.Argument(help="A bundle (.bundle), or a policy's source file.")],
    verdict: Annotated[Path, typer.Option(help="Verdict that accepts it.")],
    key: Annotated[Path, typer.Option(help="The publisher's private key (.pem).")],
    rollout_key: Annotated[
        Path | None,
        typer.Option(help="Public key of the control plane [rollout.pub beside --key]."),
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
    follow: Annotated[bool, typer.Option(help="Watch until it is decided.")] = False,
    as_json: _rollout.Json = False,
) -> None:
    """Ship a verified policy. With --follow: 0 promoted, 1 aborted, 3 held or inconclusive."""
    from ..policies.rollout.shipping import Ramp

    ramp = Ramp(
        weights=_rollout.read_weights(weights),
        block_s=_rollout.seconds(block),
        burn_in_s=_rollout.seconds(burn_in),
        skew_s=_rollout.seconds(skew),
        min_pairs=min_pairs,
        max_pairs=max_pairs,
        alpha_promote=alpha,
        alpha_abort=alpha,
        shadow_decisions=shadow_decisions,
        shadow_rate=shadow_rate,
        soak_s=_rollout.seconds(soak),
        lease_s=_rollout.seconds(lease),
        valid_s=_rollout.seconds(valid),
    )
    accepted = _accepted(verdict, ledger)
    with _rollout.connect(control_plane) as client:
        keys = Keys(key, rollout_key)
        found = ship(client, policy, accepted, ramp, keys, actor=_rollout.actor())
        found = _rollout.follow_live(client, found.id) if follow else found
    emit(_rollout.as_data(found), as_json, lambda: _rollout.show(found))
    if follow:
        raise typer.Exit(int(_rollout.exit_code(found)))


def _accepted(path: Path, ledger: Path) -> Verdict:
    from ..policies.rollout.ledger import Ledger
    from ..shadow.verdict import load_verdict

    _rollout.require_file(ledger, "name the ledger that gnomon verify wrote to with --ledger")
    return load_verdict(path, Ledger(ledger))


def _kind(verdict: Verdict) -> Kind:
    from ..policies import registry

    kind = registry.kind(verdict.kind)
    if kind.version != verdict.kind_version:
        raise RolloutError(
            f"the verdict is on {kind.name} v{verdict.kind_version}, this is v{kind.version}; "
            "verify again"
        )
    return kind


def _bundle(policy: Path, verdict: Verdict, kind: Kind, publisher: Any) -> policy_pb2.Envelope:
    """Return the signed bundle of a policy, after holding it to its verdict."""
    from ..sdk import bundle as bundles
    from ..sdk import dsse

    if verdict.decision != "accepted":
        raise RolloutError(f"the verdict is {verdict.decision}: {verdict.summary}")
    if policy.suffix == bundles.SUFFIX:
        envelope = bundles.load_bundle(policy)
        about = bundles.read_bundle(envelope.payload)
        _same(verdict, hashlib.sha256(about.source.encode()).hexdigest(), policy)
        if about.evidence_digest != verdict.digest:
            raise RolloutError(
                f"{policy} rests on another verdict; build it from this one's source"
            )
        return envelope
    source = _read(policy)
    _same(verdict, hashlib.sha256(source.encode()).hexdigest(), policy)
    payload = _build(source, verdict, kind)
    return dsse.sign(dsse.BUNDLE_TYPE, payload, publisher)


def _build(source: str, verdict: Verdict, kind: Kind) -> bytes:
    from ..sdk.bundle import build_bundle
    from ..sdk.language import check

    program = check(source, kind.input_names, max_nodes=kind.max_nodes, max_fuel=kind.max_fuel)
    provenance = {
        "calibration": verdict.calibration,
        "trace": verdict.trace,
        "source_digest": verdict.source_digest,
        "tool": verdict.tool,
    }
    return build_bundle(program, verdict.hook, kind, verdict.digest, provenance)


def _same(verdict: Verdict, digest: str, policy: Path) -> None:
    if digest != verdict.source_digest:
        raise RolloutError(
            f"{policy} has digest {digest[:12]}, the verdict is on {verdict.source_digest[:12]}; "
            "verify this policy"
        )


def _read(policy: Path) -> str:
    try:
        return policy.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read policy {policy}: {error}") from error

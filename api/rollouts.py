"""Shipping an accepted policy, and steering its rollout."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from ..sdk.errors import ConfigurationError, RolloutError
from ..sdk.records import INCUMBENT
from .places import LEDGER, acting, existing_ledger, usual_control_plane

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

    from gnomon.v1 import rollouts_pb2

    from ..policies.rollout.shipping import Ramp
    from ..sdk.channel import Peer
    from ..shadow.gates.verdict import Verdict
    from ..shadow.report.rollouts import Rollout, Shipped

#: Name of the control plane's public key, where it is looked for beside the publisher's key.
ROLLOUT_KEY = "rollout.pub"


def ship(
    verdict: Verdict | str | Path,
    control_plane: str | Peer = "",
    *,
    publisher_key: str | Path,
    rollout_key: str | Path | None = None,
    policy: str | Path | None = None,
    ramp: Ramp | None = None,
    ledger: str | Path = LEDGER,
    actor: str = "",
    override: str = "",
    bundle_out: str | Path | None = None,
) -> Shipped:
    """Sign an accepted policy as a bundle with a ramp plan, and begin its rollout.

    Args:
        verdict: that :func:`verify` returned, or its file; the ledger must vouch for the file.
        control_plane: ``host:port``, with TLS as in ``GNOMON_TLS_*``; ``$GNOMON_CONTROL_PLANE``, or
            this machine's at its usual port, when empty.
        publisher_key: private key file; signs bundle and plan.
        rollout_key: public key file of the control plane, which the plan allows to sign manifests;
            ``rollout.pub`` beside the publisher's key when None.
        policy: source or bundle file that the verdict must be on; None takes the verdict's source.
        ramp: weights, blocks and levels.
        ledger: that holds the verdict.
        actor: who ships; see :func:`acting` when empty.
        override: a reason for shipping what was not accepted; it goes into the provenance and so
            into the control plane's ledger. Empty refuses.
        bundle_out: file that also receives the signed bundle.

    Raises:
        TrustError: the ledger does not vouch for the verdict, its evaluator is in quarantine, or a key is
            wrong.
        ConfigurationError: a file is missing or wrong.
        RolloutError: the verdict is not an acceptance of this policy, or the control plane refuses.
        UnavailableError: the control plane does not answer.
    """
    from ..policies.rollout.client import RolloutClient
    from ..policies.rollout.shipping import Ramp, sign_plan
    from ..sdk.bundle import save_bundle
    from ..shadow.bundling import bundle_for, naming, plan_for, require_whole
    from ..shadow.report.rollouts import Rollout, Shipped

    publisher, pinned = _keys(Path(publisher_key), rollout_key)
    given = Path(policy) if policy else None
    require_whole(given, publisher)
    found = _vouched(verdict, ledger)
    envelope = bundle_for(found, publisher, given, override=override)
    chosen = ramp or Ramp()
    plan_for(found, envelope, chosen, pinned, INCUMBENT)  # a bad ramp is refused, whoever answers
    out = Path(bundle_out) if bundle_out is not None else None
    with (
        RolloutClient(control_plane or usual_control_plane()) as client,
        naming(Path(publisher_key), given, client.peer.address),
    ):
        payload = plan_for(found, envelope, chosen, pinned, client.stable(found.hook))
        if out is not None:
            save_bundle(out, envelope)
        begun = client.create(envelope, sign_plan(payload, publisher), actor or acting())
    where = client.peer.address, found.digest, chosen.weights, out
    later = chosen.expires_s, chosen.drift, chosen.grace_s, chosen.then
    return Shipped(Rollout.of(begun), *where, *later)


def _vouched(verdict: Verdict | str | Path, ledger: str | Path) -> Verdict:
    """Return a verdict that the ledger vouches for, and whose evaluator is not in quarantine."""
    from ..shadow.gates.evaluator import require_trusted
    from ..shadow.gates.verdict import load_verdict, read_bytes

    path = _file(verdict)
    read_bytes(path)  # the file that was named, before the ledger that nobody may have named
    with closing(existing_ledger(ledger)) as book:
        found = load_verdict(path, book)
        require_trusted(book, found.evaluator, f"verdict {found.digest[:12]}")
    return found


def _keys(
    publisher: Path, rollout: str | Path | None
) -> tuple[Ed25519PrivateKey, Ed25519PublicKey]:
    """Return the key that signs, and the control plane's that the plan allows to."""
    from ..sdk import keys

    private = keys.load_private(publisher)
    pinned = keys.load_public(rollout or publisher.with_name(ROLLOUT_KEY), "rollout")
    keys.check_separate(pinned, (private.public_key(),))
    return private, pinned


def rollout(
    rollout: str = "",
    control_plane: str | Peer = "",
    *,
    order: str = "",
    reason: str = "",
    actor: str = "",
) -> Rollout:
    """Return a rollout as it stands; with an order, as it stands once that is carried out.

    After an order, up to two seconds are waited for all processes to acknowledge it.

    Args:
        rollout: its id; the newest one when empty.
        control_plane: as for :func:`ship`.
        order: ``hold``, ``resume``, ``promote``, ``abort``, ``retry``, ``kill`` or ``recalibrated``.
        reason: why, for the ledger; ``promote`` and ``kill`` need one.
        actor: who orders; see :func:`acting` when empty.

    Raises:
        RolloutError: no such rollout, or its state does not allow the order.
        UnavailableError: the control plane does not answer.
    """
    from ..policies.rollout.client import RolloutClient, acknowledged
    from ..shadow.report.rollouts import Rollout

    with RolloutClient(control_plane or usual_control_plane()) as client:
        if not order:
            return Rollout.of(client.get(rollout))
        request = secrets.token_hex(8)
        done = client.act(rollout, order, actor or acting(), reason, request)
        return Rollout.of(acknowledged(client, done))


def reverified(
    hook: str,
    verdict: Verdict | str | Path,
    control_plane: str | Peer = "",
    *,
    publisher_key: str | Path,
    ledger: str | Path = LEDGER,
    actor: str = "",
) -> Rollout:
    """Bring a fresh verdict on the policy in force; return the rollout with its new due date.

    Args:
        hook: name of the hook.
        verdict: that :func:`verify` returned on that policy and a newer trace, or its file; the ledger must
            vouch for the file.
        control_plane: as for :func:`ship`.
        publisher_key: private key file; signs the statement.
        ledger: that holds the verdict.
        actor: who brings it; see :func:`acting` when empty.

    Raises:
        TrustError: the ledger does not vouch for the verdict, or the key is not a publisher's there.
        ConfigurationError: a file is missing or wrong.
        RolloutError: the verdict is for another hook or policy, accepts nothing, or rests on nothing newer.
        UnavailableError: the control plane does not answer.
    """
    from ..policies.rollout.client import RolloutClient
    from ..sdk import keys
    from ..shadow.bundling import naming, reverification_for
    from ..shadow.report.rollouts import Rollout

    publisher = keys.load_private(Path(publisher_key))
    found = _vouched(verdict, ledger)
    if found.hook != hook:
        raise RolloutError(f"the verdict is for hook {found.hook!r}, not {hook!r}")
    with (
        RolloutClient(control_plane or usual_control_plane()) as client,
        naming(Path(publisher_key), None, client.peer.address),
    ):
        said = reverification_for(found, client.stable(hook), publisher)
        return Rollout.of(client.reverify(said, actor or acting()))


def follow(
    rollout: str = "",
    control_plane: str | Peer = "",
    progress: Callable[[Rollout], object] = lambda _rollout: None,
) -> Rollout:
    """Watch a rollout until nothing more will happen by itself; return it as it ended.

    Args:
        rollout: its id; the newest one when empty.
        control_plane: as for :func:`ship`.
        progress: is told every change.

    Raises:
        RolloutError: no such rollout.
        UnavailableError: the control plane does not answer, or went away.
    """
    from ..policies.rollout.client import RolloutClient
    from ..policies.rollout.client import follow as watch
    from ..shadow.report.rollouts import Rollout

    def tell(found: rollouts_pb2.Rollout) -> None:
        progress(Rollout.of(found))

    with RolloutClient(control_plane or usual_control_plane()) as client:
        return Rollout.of(watch(client, client.get(rollout).id, tell))


def _file(verdict: Verdict | str | Path) -> Path:
    """Return the file of a verdict."""
    if isinstance(verdict, str | Path):
        return Path(verdict)
    if verdict.path is None:
        raise ConfigurationError("this verdict was not saved; ship what verify returned")
    return verdict.path

"""From a verdict to the signed bundle that it lets through."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..policies import registry
from ..policies.rollout.outcomes import Effect
from ..sdk import bundle as bundles
from ..sdk import dsse, keys
from ..sdk.errors import ConfigurationError, GnomonError, RolloutError, TrustError
from ..sdk.kind import Kind
from . import profiles
from .gates.verdict import GATES, GateResult, Verdict
from .gates.watch import blocking
from .policy import source_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

    from gnomon.v1 import policy_pb2

    from ..policies.rollout.shipping import Ramp


def bundle_for(
    verdict: Verdict,
    publisher: Ed25519PrivateKey,
    policy: Path | None = None,
    *,
    override: str = "",
) -> policy_pb2.Envelope:
    """Return the signed bundle of the policy that a verdict accepts.

    Args:
        verdict: as loaded through the ledger that vouches for it.
        publisher: signs.
        policy: source file or bundle file, which must be the one that the verdict is on; None takes
            the source that the verdict holds.
        override: a reason for shipping what was not accepted; it goes into the provenance.

    Raises:
        RolloutError: the verdict does not accept this policy, or accepts it without every gate.
        ConfigurationError: the policy cannot be read, or its kind is not known here.
    """
    _require_accepted(verdict, override)
    kind = kind_of(verdict)
    if not override:
        _require_gates(verdict, kind)
    if policy is not None and policy.suffix == bundles.SUFFIX:
        return _given(verdict, policy, override)
    source = verdict.source if policy is None else source_of(policy)
    _require_same(verdict, source, policy or "the verdict's own source")
    program = kind.checked(source)
    payload = bundles.build_bundle(
        program,
        verdict.hook,
        kind,
        verdict.digest,
        _provenance(verdict, override),
        profile=profiles.message(verdict.profile, verdict.trace),
    )
    _require_golden(verdict, bundles.read_bundle(payload), "this machine")
    return dsse.sign(dsse.BUNDLE_TYPE, payload, publisher)


def reverification_for(
    verdict: Verdict, policy: str, publisher: Ed25519PrivateKey
) -> policy_pb2.Envelope:
    """Return the signed statement that a fresh verdict accepts a policy that is in force already.

    Args:
        verdict: as loaded through the ledger that vouches for it.
        policy: digest of the bundle in force.
        publisher: signs.

    Raises:
        RolloutError: the verdict does not accept, or not with every gate, or does not say how new its trace is.
    """
    from gnomon.v1 import rollouts_pb2

    _require_accepted(verdict, "")
    _require_gates(verdict, kind_of(verdict))
    if not verdict.profile:
        raise RolloutError(
            "the verdict does not say how new its trace is; verify again with this version"
        )
    said = rollouts_pb2.Reverification(
        hook=verdict.hook,
        policy=policy,
        source_digest=verdict.source_digest,
        evidence_digest=verdict.digest,
        profile=profiles.message(verdict.profile, verdict.trace),
    )
    payload = said.SerializeToString(deterministic=True)
    return dsse.sign(dsse.REVERIFICATION_TYPE, payload, publisher)


def require_whole(policy: Path | None, publisher: Ed25519PrivateKey) -> None:
    """Refuse a bundle file that is damaged; one that another key signed is the server's to judge.

    Raises:
        ConfigurationError: the file holds no bundle, or not what this publisher signed.
    """
    if policy is None or policy.suffix != bundles.SUFFIX or not policy.exists():
        return
    public = publisher.public_key()
    try:
        envelope = bundles.load_bundle(policy)
        bundles.read_bundle(envelope.payload)
        if any(found.keyid == keys.keyid(public) for found in envelope.signatures):
            dsse.verify(envelope, dsse.BUNDLE_TYPE, [public])
    except GnomonError as error:
        raise ConfigurationError(
            f"{policy} is no bundle, or a damaged one ({error}); give the policy's source file, "
            "which is signed anew"
        ) from error


def plan_for(
    verdict: Verdict,
    bundle: policy_pb2.Envelope,
    ramp: Ramp,
    rollout_key: Ed25519PublicKey,
    stable: str,
) -> bytes:
    """Return the payload of a ramp plan for a bundle against what is stable.

    Raises:
        RolloutError: the plan could not be carried out; names the value.
    """
    from ..policies.rollout.shipping import build_plan

    return build_plan(
        ramp,
        bundle.payload,
        kind_of(verdict),
        rollout_key,
        time.time_ns(),
        stable=stable,
        predicted=_effects(verdict),
    )


def _effects(verdict: Verdict) -> dict[str, Effect]:
    """Return what a verdict predicts; a number that was not finite stands in its file as text."""
    effects = {
        name: Effect(*(float(effect[part]) for part in ("estimate", "low", "high")))
        for name, effect in verdict.predicted.items()
    }
    return {
        name: effect
        for name, effect in effects.items()
        if all(map(math.isfinite, (effect.estimate, effect.low, effect.high)))
    }


@contextmanager
def naming(key: Path, policy: Path | None, address: str) -> Iterator[None]:
    """Let a control plane's refusal of a signature say by which file it came.

    Args:
        key: the publisher's private key file.
        policy: bundle file that was shipped, which another may have signed; None for a source.
        address: of the control plane.

    Raises:
        TrustError: with the file named, instead of the one in the block.
    """
    try:
        yield
    except TrustError as error:
        if "not a trusted key" not in str(error):
            raise
        own = keys.keyid(keys.load_private(key).public_key())[:16]
        mine = policy is None or own in str(error)
        signed = f"publisher key {key} (keyid {own})" if mine else f"the key that signed {policy}"
        raise TrustError(
            f"{signed} is not trusted by control plane {address}; sign with another key, or "
            "start it with this one as --publisher-key"
        ) from error


def kind_of(verdict: Verdict) -> Kind:
    """Return the kind that a verdict is on; raises RolloutError when it has changed since."""
    kind = registry.kind(verdict.kind)
    if kind.version != verdict.kind_version:
        raise RolloutError(
            f"the verdict is on {kind.name} v{verdict.kind_version}, this is v{kind.version}; "
            "verify again"
        )
    return kind


def _require_accepted(verdict: Verdict, override: str) -> None:
    if verdict.decision != "accepted" and not override:
        raise RolloutError(
            f"the verdict is {verdict.decision}: {verdict.summary} Only an accepted policy is "
            "shipped; to go past the gates give a reason with --override"
        )


def _require_gates(verdict: Verdict, kind: Kind) -> None:
    """Refuse an acceptance that does not rest on every gate, in order."""
    asked = tuple(gate.name for gate in verdict.gates)
    if asked != GATES:
        missing = ", ".join(name for name in GATES if name not in asked) or "none in its place"
        raise RolloutError(
            f"the verdict accepts without the full list of gates (missing: {missing}); verify again"
        )
    for gate in verdict.gates:
        if not _passed(gate, kind):
            raise RolloutError(
                f"the verdict accepts, but its gate {gate.name} is {gate.answer}; verify again"
            )


def _passed(gate: GateResult, kind: Kind) -> bool:
    """Return whether a gate passed; skipped counts only where kind or trace give it nothing to ask."""
    skippable = {
        "bound": not kind.has_bound or gate.evidence.get("proven") is False,
        "invariants": not blocking(kind.invariants),
        "fidelity": gate.evidence.get("answer") == "nothing recorded",
    }
    return gate.answer == "passed" or (gate.answer == "skipped" and skippable.get(gate.name, False))


def _given(verdict: Verdict, policy: Path, override: str) -> policy_pb2.Envelope:
    """Return a bundle from a file, after holding it to its verdict."""
    envelope = bundles.load_bundle(policy)
    about = bundles.read_bundle(envelope.payload)
    _require_same(verdict, about.source, policy)
    if about.evidence_digest != verdict.digest:
        raise RolloutError(f"{policy} rests on another verdict; build it from this one's source")
    wanted = (verdict.hook, verdict.kind, verdict.kind_version)
    if (about.hook, about.kind, about.kind_version) != wanted:
        raise RolloutError(
            f"{policy} is for hook {about.hook!r} of kind {about.kind} v{about.kind_version}, the "
            f"verdict for {verdict.hook!r} of {verdict.kind} v{verdict.kind_version}; verify again"
        )
    _require_golden(verdict, about, policy)
    if override != about.provenance.get("override", ""):
        raise ConfigurationError(
            f"{policy} is signed already and its provenance holds another override; "
            "give the source file instead"
        )
    return envelope


def _require_golden(verdict: Verdict, bundle: policy_pb2.Bundle, where: Path | str) -> None:
    """Refuse other golden vectors than those that the candidate's own process gave when it was verified."""
    if not verdict.golden:
        if verdict.decision == "accepted":
            raise RolloutError("the verdict accepts without golden vectors; verify again")
        return  # refused before there were any, and shipped by an override
    found = bundles.golden_in(bundle).digest
    if found != verdict.golden:
        raise RolloutError(
            f"the golden vectors of {where} are {found[:12]}, those of the verdict "
            f"{verdict.golden[:12]}: arithmetic or version differ; verify again there"
        )


def _require_same(verdict: Verdict, source: str, policy: Path | str) -> None:
    digest = hashlib.sha256(source.encode()).hexdigest()
    if digest != verdict.source_digest:
        raise RolloutError(
            f"{policy} has digest {digest[:12]}, the verdict is on {verdict.source_digest[:12]}; "
            "verify this policy"
        )


def _provenance(verdict: Verdict, override: str) -> dict[str, str]:
    words = {
        "verdict": verdict.decision,
        "calibration": verdict.calibration,
        "trace": verdict.trace,
        "source_digest": verdict.source_digest,
        "tool": verdict.tool,
    }
    return words | {"override": override} if override else words

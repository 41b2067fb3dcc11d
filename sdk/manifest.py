"""Which manifests a service accepts: the client's rules, without any input or output of their own.

What an attacker may try, and what stops it:

* forgery: the rollout key that the publisher's plan names, or a pinned one, must have signed;
* replay and rollback: epochs only rise, and the highest one is remembered on disk;
* freeze: a manifest carries its time of issue, a lease is renewed only by a later one;
* mix and match: stable, candidate, weights and blocks must be those of the plan inside;
* a stolen rollout key: raises stay within what the publisher signed, and end with the plan. That
  holds for promotion too: past ``not_after`` a plan's candidate becomes stable only where it ran in
  full already, so a process without such a past runs the source's function until it is shipped
  again. Nothing but the rollout key's word would tell it a promoted candidate from an aborted one.

Going back must never be refused for a formality: a kill, or less of the candidate than now, needs
neither plan nor freshness, only a trusted signature and a higher epoch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from google.protobuf.message import DecodeError

from gnomon.v1 import policy_pb2

from . import dsse, keys
from .errors import ConfigurationError, TrustError
from .isolation.layers import IsolationMode
from .records import INCUMBENT
from .state import Saved

_TRIAL_PHASES = (policy_pb2.PHASE_SHADOW, policy_pb2.PHASE_CANARY, policy_pb2.PHASE_FULL)
_FULL_WEIGHT = 0.5  # a plan that goes to FULL has a weight above it; a canary never does
_SALT_BYTES = 8


class Now(NamedTuple):
    """Both clocks at one moment.

    Attributes:
        unix_ns: wall clock, comparable with what the control plane wrote.
        monotonic_ns: as of time.monotonic_ns(); leases are measured on it.
    """

    unix_ns: int
    monotonic_ns: int


@dataclass(frozen=True, slots=True)
class Anchors:
    """What a service trusts without being told by the network.

    Attributes:
        publishers: keys that may sign bundles and plans.
        rollouts: keys that may sign manifests, beside the one that a plan names.
        min_epoch: lower epochs are refused; replaces lost state.
        revoked: keyids of keys that may sign nothing any more, whatever a plan says.
        skew_ns: by which the wall clocks of the control plane and the service may differ.
        isolation: of programs, whose golden cases are tried in a process of their own.
    """

    publishers: tuple[Ed25519PublicKey, ...]
    rollouts: tuple[Ed25519PublicKey, ...] = ()
    min_epoch: int = 0
    skew_ns: int = 60_000_000_000
    isolation: IsolationMode = "strict"
    revoked: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Admitted:
    """A manifest that passed every check.

    Attributes:
        manifest: parsed.
        plan: in force with it; None where none was ever seen.
        lease_until_ns: monotonic time up to which a candidate may run; 0 for no lease.
        saved: state to keep.
    """

    manifest: policy_pb2.Manifest
    plan: policy_pb2.RampPlan | None
    lease_until_ns: int
    saved: Saved


class ManifestGuard:
    """Decides on the manifests of one hook.

    :meth:`check` changes nothing and :meth:`commit` cannot fail, so that a caller can look for the
    bundles in between.

    Args:
        hook: whose manifests these are.
        anchors: keys and limits from the configuration.
        saved: state of an earlier life. Its epoch holds even when its manifest is not trusted any
            more, for example because a key was withdrawn.
    """

    def __init__(self, hook: str, anchors: Anchors, saved: Saved | None = None) -> None:
        self._hook = hook
        self._anchors = anchors
        self._saved = saved or Saved()
        self.current: Admitted | None = None
        if self._saved.manifest:
            self.current = self._restored(self._saved)
            self._forget_revoked()

    def trust(self, anchors: Anchors) -> None:
        """Trust other keys from now on; what is in force stays so, lease included, only if they signed it."""
        self._anchors, before, self.current = anchors, self.current, None
        if before is not None:
            found = self._restored(self._saved)
            self.current = found and replace(found, lease_until_ns=before.lease_until_ns)
            self._forget_revoked()

    def _forget_revoked(self) -> None:
        """Forget the epoch that a revoked key made us see: whoever stole it may have used up all the others.

        Nothing older comes back by that: what the key signed before is refused as well.
        """
        if self.current is None and _signed_by(self._saved.manifest, self._anchors.revoked):
            self._saved = Saved()

    @property
    def epoch(self) -> int:
        """Highest epoch seen in this life or an earlier one; 0 before the first."""
        return self._saved.epoch

    def check(self, envelope: policy_pb2.Envelope, now: Now) -> Admitted:
        """Return the manifest in an envelope if it may replace the one in force.

        Raises:
            TrustError: it may not; the message says why and is fit for a NACK.
        """
        manifest, plan = self._authentic(envelope)
        self._check_epoch(manifest)
        if self.current is not None and manifest.epoch == self.epoch:
            return self._renewal(self.current, manifest, envelope, now)
        if not manifest.kill and not self._lowers(manifest, plan):
            _check_fresh(manifest, now, self._anchors.skew_ns)
            _check_plan(manifest, plan, now)
            if plan is not None and manifest.stable == plan.candidate:
                self._check_promotion(plan, now)
        return self._admitted(manifest, plan, envelope, self._lease(manifest, now))

    def commit(self, admitted: Admitted) -> None:
        """Put a checked manifest in force."""
        self.current = admitted
        self._saved = admitted.saved

    def _restored(self, saved: Saved) -> Admitted | None:
        """Return the manifest of an earlier life, without a lease, if its signatures still hold."""
        try:
            envelope = policy_pb2.Envelope.FromString(saved.manifest)
            manifest, plan = self._authentic(envelope)
        except (DecodeError, TrustError):
            return None
        if manifest.epoch < self._anchors.min_epoch:
            return None
        return Admitted(manifest, plan, 0, saved)

    def _authentic(
        self, envelope: policy_pb2.Envelope
    ) -> tuple[policy_pb2.Manifest, policy_pb2.RampPlan | None]:
        """Verify who signed a manifest and the plan inside, and that both are for this hook."""
        manifest = _parse_manifest(envelope.payload)
        plan = self._plan(manifest)
        dsse.verify(envelope, dsse.MANIFEST_TYPE, self._signers(manifest, plan))
        if manifest.hook != self._hook:
            raise TrustError(f"manifest is for hook {manifest.hook!r}, not {self._hook!r}")
        return manifest, plan

    def _plan(self, manifest: policy_pb2.Manifest) -> policy_pb2.RampPlan | None:
        """Return the verified plan inside, else the last one that was; a kill does not need its."""
        if not manifest.HasField("plan"):
            return self._last_plan()
        try:
            return read_plan(manifest.plan, self._anchors.publishers, self._hook)
        except TrustError:
            if manifest.kill:
                return self._last_plan()
            raise

    def _brings(self, manifest: policy_pb2.Manifest) -> bool:
        """Return whether a true plan is inside."""
        try:
            read_plan(manifest.plan, self._anchors.publishers, self._hook)
        except TrustError:
            return False
        return manifest.HasField("plan")

    def _last_plan(self) -> policy_pb2.RampPlan | None:
        if self.current is not None:
            return self.current.plan
        if not self._saved.plan:
            return None
        try:
            envelope = policy_pb2.Envelope.FromString(self._saved.plan)
            return read_plan(envelope, self._anchors.publishers, self._hook)
        except (DecodeError, TrustError):
            return None

    def _signers(
        self, manifest: policy_pb2.Manifest, plan: policy_pb2.RampPlan | None
    ) -> Sequence[Ed25519PublicKey]:
        """Return the keys that may sign a manifest; a publisher may sign a kill."""
        signers = list(self._anchors.rollouts)
        if plan is not None:
            signers.append(keys.from_raw(plan.rollout_public_key))
        if manifest.kill:
            signers += self._anchors.publishers
        return [key for key in signers if keys.keyid(key) not in self._anchors.revoked]

    def _check_epoch(self, manifest: policy_pb2.Manifest) -> None:
        if manifest.epoch < self._anchors.min_epoch:
            raise TrustError(f"epoch {manifest.epoch} is below min_epoch {self._anchors.min_epoch}")
        if manifest.epoch < max(self.epoch, 1):
            raise TrustError(f"epoch {manifest.epoch} is older than {self.epoch}, seen before")

    def _renewal(
        self,
        current: Admitted,
        manifest: policy_pb2.Manifest,
        envelope: policy_pb2.Envelope,
        now: Now,
    ) -> Admitted:
        """Return the manifest in force with a later time of issue; nothing else may differ."""
        if _timeless(manifest) != _timeless(current.manifest):
            raise TrustError(f"epoch {manifest.epoch} is in force with another content")
        issued, before = manifest.issued_unix_ns, current.manifest.issued_unix_ns
        if issued < before:
            raise TrustError(f"manifest was issued {before - issued} ns before the one in force")
        if issued == before and current.lease_until_ns:
            return current
        if manifest.candidate and not manifest.kill:
            _check_fresh(manifest, now, self._anchors.skew_ns)
            _check_unexpired(current.plan, now)
        lease = self._lease(manifest, now)
        return self._admitted(manifest, current.plan, envelope, lease)

    def _lowers(self, manifest: policy_pb2.Manifest, plan: policy_pb2.RampPlan | None) -> bool:
        """Return whether a manifest gives a candidate less than the one in force, or nothing."""
        running = self.current is not None and not self.current.manifest.kill
        current = self.current.manifest if self.current and running else policy_pb2.Manifest()
        if manifest.stable not in (INCUMBENT, current.stable or INCUMBENT):
            return False
        if not manifest.candidate:
            return manifest.phase == policy_pb2.PHASE_STABLE
        return (
            _design(manifest) == _design(current)
            and plan is not None
            and plan.candidate == manifest.candidate
            and _is_less(manifest, current)
        )

    def _check_promotion(self, plan: policy_pb2.RampPlan, now: Now) -> None:
        """Refuse an expired plan's candidate as stable, unless it was in full force here."""
        current = self.current.manifest if self.current else policy_pb2.Manifest()
        ran_in_full = current.phase == policy_pb2.PHASE_FULL and current.candidate == plan.candidate
        if current.kill or not ran_in_full:
            _check_unexpired(plan, now)

    def _lease(self, manifest: policy_pb2.Manifest, now: Now) -> int:
        """Return the lease of a manifest from its reception; a stale one extends nothing."""
        try:
            _check_fresh(manifest, now, self._anchors.skew_ns)
        except TrustError:
            return self.current.lease_until_ns if self.current else 0
        return now.monotonic_ns + manifest.lease_ns

    def _admitted(
        self,
        manifest: policy_pb2.Manifest,
        plan: policy_pb2.RampPlan | None,
        envelope: policy_pb2.Envelope,
        lease_until_ns: int,
    ) -> Admitted:
        # A kill's plan, too, where it is a true one: later manifests may stand on it, in this life or another.
        kept = manifest.plan.SerializeToString() if self._brings(manifest) else self._saved.plan
        saved = Saved(manifest.epoch, envelope.SerializeToString(), kept)
        return Admitted(manifest, plan, lease_until_ns, saved)


def read_plan(
    envelope: policy_pb2.Envelope, publishers: Sequence[Ed25519PublicKey], hook: str
) -> policy_pb2.RampPlan:
    """Return the plan in an envelope that a publisher signed for a hook.

    Raises:
        TrustError: it is not signed by one of ``publishers``, not for the hook, or its numbers
            make no sense; an expired plan is still returned.
    """
    payload = dsse.verify(envelope, dsse.PLAN_TYPE, publishers)
    try:
        plan = policy_pb2.RampPlan.FromString(payload)
    except DecodeError as error:
        raise TrustError(f"payload of {len(payload)} bytes is no ramp plan") from error
    if plan.hook != hook:
        raise TrustError(f"ramp plan is for hook {plan.hook!r}, not {hook!r}")
    _check_plan_key(plan, publishers)
    _check_plan_numbers(plan)
    return plan


def _check_plan_key(plan: policy_pb2.RampPlan, publishers: Sequence[Ed25519PublicKey]) -> None:
    try:
        key = keys.from_raw(plan.rollout_public_key)
        keys.check_separate(key, publishers)
    except ConfigurationError as error:
        raise TrustError(f"ramp plan's rollout key: {error}") from error
    if keys.keyid(key) != plan.rollout_keyid:
        raise TrustError(
            f"ramp plan names rollout key {plan.rollout_keyid[:16]!r} but holds another"
        )


def _check_plan_numbers(plan: policy_pb2.RampPlan) -> None:
    if not plan.candidate or not plan.stable:
        raise TrustError("ramp plan names no candidate or no stable digest")
    if not plan.weights or not all(0.0 < weight <= 1.0 for weight in plan.weights):
        raise TrustError(f"ramp plan's weights {list(plan.weights)} are not all in (0, 1]")
    if plan.block_ns <= 0 or plan.burn_in_ns < 0 or plan.skew_ns < 0:
        raise TrustError("ramp plan's block, burn-in or skew is negative or zero")
    if plan.burn_in_ns + plan.skew_ns >= plan.block_ns:
        raise TrustError("ramp plan's burn-in and skew leave nothing of a block to measure")
    if plan.lease_ns <= 0 or not 0.0 <= plan.shadow_rate <= 1.0:
        raise TrustError("ramp plan's lease or shadow rate is out of range")


def _parse_manifest(payload: bytes) -> policy_pb2.Manifest:
    if len(payload) > dsse.MAX_PAYLOAD:
        raise TrustError(f"manifest of {len(payload)} bytes exceeds {dsse.MAX_PAYLOAD}")
    try:
        return policy_pb2.Manifest.FromString(payload)
    except DecodeError as error:
        raise TrustError(f"payload of {len(payload)} bytes is no manifest") from error


def _signed_by(manifest: bytes, keyids: frozenset[str]) -> bool:
    """Return whether a serialised envelope that was accepted once names one of these keys."""
    try:
        envelope = policy_pb2.Envelope.FromString(manifest)
    except DecodeError:
        return False
    return any(signature.keyid in keyids for signature in envelope.signatures)


def _timeless(manifest: policy_pb2.Manifest) -> bytes:
    """Return a manifest's bytes without the time of issue."""
    copy = policy_pb2.Manifest()
    copy.CopyFrom(manifest)
    copy.ClearField("issued_unix_ns")
    return copy.SerializeToString(deterministic=True)


def _design(manifest: policy_pb2.Manifest) -> tuple[object, ...]:
    return (manifest.stable, manifest.candidate, manifest.salt)


def _is_less(manifest: policy_pb2.Manifest, current: policy_pb2.Manifest) -> bool:
    """Return whether phase and weight both are at most those in force, and make sense together."""
    if manifest.phase not in _TRIAL_PHASES or manifest.phase > current.phase:
        return False
    if manifest.phase == policy_pb2.PHASE_CANARY and not _is_canary(manifest):
        return False
    return 0.0 <= manifest.weight <= current.weight


def _check_fresh(manifest: policy_pb2.Manifest, now: Now, skew_ns: int) -> None:
    if manifest.lease_ns <= 0:
        raise TrustError("manifest has no lease")
    late = now.unix_ns - manifest.issued_unix_ns - manifest.lease_ns
    if late > skew_ns:
        raise TrustError(f"manifest expired {late / 1e9:.1f} s ago; check this machine's clock")
    early = manifest.issued_unix_ns - now.unix_ns
    if early > skew_ns:
        raise TrustError(f"manifest was issued {early / 1e9:.1f} s ahead of this machine's clock")


def _check_unexpired(plan: policy_pb2.RampPlan | None, now: Now) -> None:
    if plan is None or now.unix_ns > plan.not_after_unix_ns:
        raise TrustError("the ramp plan has expired; ship again with a new one")


def _check_plan(manifest: policy_pb2.Manifest, plan: policy_pb2.RampPlan | None, now: Now) -> None:
    """Check that the publisher's plan allows what a manifest asks for."""
    if plan is None:
        raise TrustError("manifest raises a policy without a ramp plan")
    if manifest.lease_ns > plan.lease_ns:
        raise TrustError(f"lease of {manifest.lease_ns} ns exceeds the plan's {plan.lease_ns} ns")
    if manifest.phase == policy_pb2.PHASE_STABLE:
        _check_stable(manifest, plan)
    elif manifest.phase in _TRIAL_PHASES:
        _check_unexpired(plan, now)
        _check_trial(manifest, plan)
    else:
        raise TrustError(f"unknown phase {manifest.phase}; this service is too old for it")


def _check_stable(manifest: policy_pb2.Manifest, plan: policy_pb2.RampPlan) -> None:
    allowed = {INCUMBENT, plan.stable}
    if max(plan.weights) > _FULL_WEIGHT:
        allowed.add(plan.candidate)
    if manifest.stable not in allowed:
        raise TrustError(f"the ramp plan does not allow {manifest.stable[:16]!r} as stable")
    if manifest.candidate or manifest.weight:
        raise TrustError("a manifest in phase stable names a candidate or a weight")


def _check_trial(manifest: policy_pb2.Manifest, plan: policy_pb2.RampPlan) -> None:
    """Check a manifest that gives traffic, real or shadow, to the plan's candidate."""
    if (manifest.stable, manifest.candidate) != (plan.stable, plan.candidate):
        raise TrustError("manifest's stable and candidate are not those of the ramp plan")
    if plan.arms not in (policy_pb2.ARMS_SWITCHBACK, policy_pb2.ARMS_PAIRED):
        raise TrustError("only switchback and paired arms are supported by this version")
    largest, weight = max(plan.weights), manifest.weight
    full = manifest.phase == policy_pb2.PHASE_FULL
    if full and largest <= _FULL_WEIGHT:
        raise TrustError(f"the ramp plan ends at weight {largest} and never goes to full")
    limit = 1.0 if full else largest
    if not math.isfinite(weight) or not 0.0 <= weight <= limit:
        raise TrustError(f"weight {weight} is beyond the ramp plan's {limit}")
    if manifest.phase == policy_pb2.PHASE_CANARY:
        _check_canary(manifest)
    elif manifest.phase == policy_pb2.PHASE_SHADOW and weight:
        raise TrustError(f"weight {weight} in phase shadow, where the candidate has no effect")


def _is_canary(manifest: policy_pb2.Manifest) -> bool:
    return manifest.weight <= _FULL_WEIGHT and len(manifest.salt) >= _SALT_BYTES


def _check_canary(manifest: policy_pb2.Manifest) -> None:
    if not _is_canary(manifest):
        raise TrustError(
            f"phase canary with weight {manifest.weight} and {len(manifest.salt)} bytes of salt; "
            f"at most {_FULL_WEIGHT} and at least {_SALT_BYTES} bytes are allowed"
        )

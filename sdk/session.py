"""One stream with the control plane as pure steps: a message in, a reply and effects out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from gnomon.v1 import delivery_pb2, policy_pb2

from . import dsse
from .assignment import NEVER_NS, Assignment, Design, Phase, Sticky, Switchback
from .bundle import bundle_digest, open_bundle, read_bundle
from .errors import TrustError
from .kind import Arms, Kind
from .manifest import Admitted, Anchors, ManifestGuard, Now
from .profile import check_profile
from .records import INCUMBENT, Record
from .state import Saved

if TYPE_CHECKING:
    from .language import ArrayProgram, Program

#: Verified programs that a hook holds; those that a manifest in force names always stay.
MAX_PROGRAMS = 16
_ERROR_CHARS = 500

_PHASES: dict[int, Phase] = {
    policy_pb2.PHASE_STABLE: "stable",
    policy_pb2.PHASE_SHADOW: "shadow",
    policy_pb2.PHASE_CANARY: "canary",
    policy_pb2.PHASE_FULL: "full",
}
_ARMS: dict[int, Arms] = {
    policy_pb2.ARMS_SWITCHBACK: "switchback",
    policy_pb2.ARMS_STICKY: "sticky",
    policy_pb2.ARMS_PAIRED: "paired",
}
_MEASURED = (policy_pb2.PHASE_CANARY, policy_pb2.PHASE_FULL)


class Measure(Protocol):
    """What delivery needs of a measure: cumulative outcomes per block and arm, or per slice of the units.

    All of it may be called from other threads than the one that decides.
    """

    def follow(self, design: Design | None, epoch: int, time_ns: int, /) -> None:
        """Measure under another design from a Unix time on; None stops."""
        ...

    def add(self, record: Record) -> None:
        """Take one drained record into account."""
        ...

    def reports(self) -> list[delivery_pb2.BlockReport]:
        """Return one cumulative report per block and arm that is still kept.

        Of paired arms both are of the same moment: they count the same decisions.
        """
        ...

    def slices(self) -> delivery_pb2.SliceReport | None:
        """Return the cumulative sums by slice of the units; None where arms are not sticky."""
        ...

    def block_end_ns(self, time_ns: int) -> int | None:
        """Return the Unix time at which the block of ``time_ns`` ends; None outside a canary."""
        ...


class HookLike(Protocol):
    """What delivery needs of a hook."""

    @property
    def name(self) -> str:
        """Name of the hook, unique in the process."""
        ...

    @property
    def kind(self) -> Kind:
        """Contract of the hook."""
        ...

    @property
    def counters(self) -> Mapping[str, int]:
        """Counters by name, as they stand."""
        ...

    @property
    def broken(self) -> Mapping[str, int]:
        """How often each invariant did not hold, by name."""
        ...

    @property
    def breaker(self) -> str:
        """Why this process took the candidate back; empty where it did not."""
        ...

    @property
    def killed(self) -> str:
        """Why policies may not decide in this process, whatever is installed; empty where they may."""
        ...

    @property
    def has_outcomes(self) -> bool:
        """Whether outcomes of its decisions can be expected."""
        ...

    measure: Any  # set by delivery; its ``add`` takes every drained record

    def new_measure(self) -> Measure:
        """Return a measure with nothing in it yet; delivery asks once per process."""
        ...

    def install(self, assignment: Assignment) -> None:
        """Run another assignment from the next call on."""
        ...


class Node(NamedTuple):
    """Who this process is.

    Attributes:
        service: name of the service.
        instance: the process's id, 16 hex digits.
        cell: processes that share state.
        version: of gnomon.
    """

    service: str
    instance: str
    cell: str
    version: str


@dataclass(frozen=True, slots=True)
class Step:
    """What to do about one message: save, keep and install in this order, then reply.

    Attributes:
        reply: to be sent.
        save: hook and state to be written, where a manifest was accepted.
        keep: digest and envelope to be written, where a bundle was accepted.
        install: hook and what it runs from now on, where a manifest was accepted.
    """

    reply: delivery_pb2.ClientMessage
    save: tuple[str, Saved] | None = None
    keep: tuple[str, bytes] | None = None
    install: tuple[str, Assignment] | None = None


class HookPolicy:
    """What one hook may run: its manifest in force and the programs that were verified.

    Args:
        name: of the hook.
        kind: of the hook.
        cell: of this process, for the switchback.
        anchors: keys and limits from the configuration.
        saved: state of an earlier life.
        has_outcomes: whether outcomes can be expected; without them no candidate is taken.
    """

    def __init__(
        self,
        name: str,
        kind: Kind,
        cell: str,
        anchors: Anchors,
        saved: Saved | None = None,
        *,
        has_outcomes: Callable[[], bool] = lambda: True,
    ) -> None:
        self.name = name
        self.kind = kind
        self._cell = cell
        self._anchors = anchors
        self._has_outcomes = has_outcomes
        self.guard = ManifestGuard(name, anchors, saved)
        self.programs: dict[str, Program | ArrayProgram] = {}
        self.profiles: dict[str, policy_pb2.Profile] = {}
        self._envelopes: dict[str, policy_pb2.Envelope] = {}

    def trust(self, anchors: Anchors) -> Assignment | None:
        """Trust other keys from now on; return what runs then, or None where that is what ran before."""
        before = self.guard.current
        self._anchors = anchors
        self.guard.trust(anchors)
        for digest, envelope in list(self._envelopes.items()):
            try:
                dsse.verify(envelope, dsse.BUNDLE_TYPE, anchors.publishers)
            except TrustError:
                self.programs.pop(digest, None)
                del self._envelopes[digest]
        if before is None or (self.guard.current is not None and self._holds(before.manifest)):
            return None
        return self._reduced(before.manifest.epoch)

    def _holds(self, manifest: policy_pb2.Manifest) -> bool:
        named = {manifest.stable, manifest.candidate} - {"", INCUMBENT}
        return manifest.kill or named <= set(self.programs)

    def _reduced(self, epoch: int) -> Assignment:
        """Return what may run of a manifest that lost a signature: its stable policy, or the function."""
        current = self.guard.current
        stable = current.manifest.stable if current else INCUMBENT
        if stable not in self.programs:
            return Assignment(epoch=epoch)
        return Assignment(epoch=epoch, stable=self.programs[stable], stable_digest=stable)

    def add_bundle(self, digest: str, envelope: policy_pb2.Envelope) -> None:
        """Verify a bundle and hold its program; raises TrustError where it does not hold."""
        if bundle_digest(envelope.payload) != digest:
            raise TrustError(f"payload's digest is not {digest[:16]!r}, under which it was sent")
        bundle, program = open_bundle(
            envelope, self._anchors.publishers, self.name, self.kind, self._anchors.isolation
        )
        check_profile(bundle.profile)
        self.programs[digest] = program
        self.profiles[digest] = bundle.profile
        self._envelopes[digest] = envelope
        self._evict(digest)

    def admit(self, envelope: policy_pb2.Envelope, now: Now) -> tuple[Saved, Assignment]:
        """Put a manifest in force; raises TrustError, and changes nothing, where it may not be."""
        admitted = self.guard.check(envelope, now)
        assignment = self._assignment(admitted)
        self.guard.commit(admitted)
        return admitted.saved, assignment

    def resumed(self) -> Assignment:
        """Return what the state of an earlier life lets run: stable or killed, never a candidate."""
        current = self.guard.current
        if current is None:
            return Assignment()
        try:
            return self._assignment(current)
        except TrustError:
            return Assignment(epoch=current.manifest.epoch)

    def state(self) -> delivery_pb2.HookState:
        """Return what a Hello says of this hook."""
        return delivery_pb2.HookState(
            hook=self.name,
            kind=self.kind.name,
            kind_version=self.kind.version,
            epoch=max(self.guard.epoch, self._anchors.min_epoch - 1),
            bundles=list(self.programs),
        )

    def _assignment(self, admitted: Admitted) -> Assignment:
        manifest = admitted.manifest
        if manifest.kill:
            return Assignment(epoch=manifest.epoch, phase="killed")
        stable = self._program(manifest.stable)
        if not manifest.candidate:
            return Assignment(epoch=manifest.epoch, stable=stable, stable_digest=manifest.stable)
        plan = admitted.plan
        if plan is None:
            raise TrustError("manifest names a candidate without a ramp plan")
        self._check_objective(plan)
        self._check_arms(plan)
        if not self._has_outcomes():
            raise TrustError(
                f"hook {self.name!r} reports no outcomes, so nothing can be canaried on it; use "
                "decide() or outcome="
            )
        return Assignment(
            epoch=manifest.epoch,
            phase=_PHASES[manifest.phase],
            stable=stable,
            candidate=self._program(manifest.candidate),
            stable_digest=manifest.stable,
            candidate_digest=manifest.candidate,
            switchback=self._switchback(manifest, plan),
            sticky=self._sticky(manifest, plan),
            lease_until_ns=min(admitted.lease_until_ns, NEVER_NS),
            shadow_rate=plan.shadow_rate,
        )

    def _check_objective(self, plan: policy_pb2.RampPlan) -> None:
        """Refuse a plan that would read this process's sums in another unit."""
        own = self.kind.objective
        if (plan.objective, plan.objective_clip) != (own.name, own.clip):
            raise TrustError(
                f"ramp plan judges {plan.objective!r} clipped at {plan.objective_clip}, "
                f"this service measures {own.name!r} clipped at {own.clip}"
            )

    def _check_arms(self, plan: policy_pb2.RampPlan) -> None:
        """Refuse a plan that divides traffic in another way than hooks of this kind do."""
        asked, own = _ARMS.get(plan.arms, f"unknown ({plan.arms})"), self.kind.arms
        if asked != own:
            raise TrustError(
                f"ramp plan's arms are {asked}, kind {self.kind.name!r} here has {own} arms; "
                "ship again with this version of the kind"
            )

    def _switchback(
        self, manifest: policy_pb2.Manifest, plan: policy_pb2.RampPlan
    ) -> Switchback | None:
        """Return the blocks of a phase in which the candidate's outcomes are measured."""
        if manifest.phase not in _MEASURED or plan.arms == policy_pb2.ARMS_STICKY:
            return None
        paired = plan.arms == policy_pb2.ARMS_PAIRED
        return Switchback(
            salt=manifest.salt,
            cell=self._cell,
            block_ns=plan.block_ns,
            burn_in_ns=plan.burn_in_ns,
            skew_ns=plan.skew_ns,
            weight=manifest.weight if paired else min(manifest.weight, 0.5),
            paired=paired,
        )

    def _sticky(self, manifest: policy_pb2.Manifest, plan: policy_pb2.RampPlan) -> Sticky | None:
        """Return the slices of a phase in which the candidate's outcomes are measured."""
        if manifest.phase not in _MEASURED or plan.arms != policy_pb2.ARMS_STICKY:
            return None
        return Sticky(manifest.salt, plan.slices, manifest.weight)

    def _program(self, digest: str) -> Program | ArrayProgram | None:
        if digest == INCUMBENT:
            return None
        if digest not in self.programs:
            raise TrustError(f"bundle {digest[:16]!r} is not held; push it before its manifest")
        return self.programs[digest]

    def _evict(self, newest: str) -> None:
        current = self.guard.current
        wanted = {current.manifest.stable, current.manifest.candidate} if current else set()
        for digest in list(self.programs):
            if len(self.programs) <= MAX_PROGRAMS:
                return
            if digest not in wanted and digest != newest:
                del self.programs[digest]
                self.profiles.pop(digest, None)
                self._envelopes.pop(digest, None)


class Session:
    """The client's side of one stream.

    Args:
        node: who this process is.
        policies: by hook; shared with later streams, and more may be added while this one runs.
    """

    def __init__(self, node: Node, policies: Mapping[str, HookPolicy]) -> None:
        self._node = node
        self._policies = policies

    def hello(self) -> delivery_pb2.ClientMessage:
        """Return the greeting; sent again on the same stream when a hook was added."""
        node = delivery_pb2.Node(
            service=self._node.service,
            instance=self._node.instance,
            cell=self._node.cell,
            version=self._node.version,
        )
        states = [policy.state() for policy in self._policies.values()]
        return delivery_pb2.ClientMessage(hello=delivery_pb2.Hello(node=node, hooks=states))

    def receive(self, message: delivery_pb2.ServerMessage, now: Now) -> Step:
        """Return the answer to one pushed resource; a bad one is refused by itself."""
        which = message.WhichOneof("resource")
        if which == "bundle":
            return self._bundle(message.nonce, message.bundle)
        if which == "manifest":
            return self._manifest(message.nonce, message.manifest, now)
        return Step(_ack(message.nonce, which or "", "", error="unknown resource; update gnomon"))

    def _bundle(self, nonce: str, push: delivery_pb2.BundlePush) -> Step:
        try:
            policy = self._policy(read_bundle(push.envelope.payload).hook)
            policy.add_bundle(push.digest, push.envelope)
        except TrustError as error:
            return Step(_ack(nonce, "bundle", push.digest, error=str(error)))
        kept = (push.digest, push.envelope.SerializeToString())
        return Step(_ack(nonce, "bundle", push.digest), keep=kept)

    def _manifest(self, nonce: str, push: delivery_pb2.ManifestPush, now: Now) -> Step:
        try:
            policy = self._policy(push.hook)
            saved, assignment = policy.admit(push.envelope, now)
        except TrustError as error:
            epoch = claimed_epoch(push.envelope)
            return Step(_ack(nonce, "manifest", push.hook, epoch, error=str(error)))
        reply = _ack(nonce, "manifest", push.hook, saved.epoch)
        return Step(reply, save=(push.hook, saved), install=(push.hook, assignment))

    def _policy(self, hook: str) -> HookPolicy:
        try:
            return self._policies[hook]
        except KeyError:
            raise TrustError(f"no hook {hook[:100]!r} in this process") from None


def claimed_epoch(envelope: policy_pb2.Envelope) -> int:
    """Return the epoch that a refused manifest claims, to name it in the answer; 0 if unreadable."""
    from google.protobuf.message import DecodeError

    try:
        return policy_pb2.Manifest.FromString(envelope.payload).epoch
    except DecodeError:
        return 0


def hook_report(
    hook: HookLike,
    epoch: int,
    blocks: Iterable[delivery_pb2.BlockReport],
    slices: delivery_pb2.SliceReport | None = None,
    features: Iterable[delivery_pb2.FeatureCounts] = (),
) -> delivery_pb2.ClientMessage:
    """Return the periodic report on one hook."""
    counters = {name: value for name, value in hook.counters.items() if value >= 0}
    counters |= {f"broken.{name}": value for name, value in hook.broken.items() if value > 0}
    shadow = {
        field: counters.get(f"shadow_{field}", 0)
        for field in ("decisions", "diverged", "faults", "violations", "shed")
    }
    report = delivery_pb2.HookReport(
        hook=hook.name,
        epoch=epoch,
        blocks=blocks,
        shadow=delivery_pb2.ShadowReport(**shadow),
        counters=counters,
        breaker=hook.breaker,
        killed=hook.killed,
        slices=slices,
        features=features,
    )
    return delivery_pb2.ClientMessage(report=report)


def _ack(
    nonce: str, resource: str, name: str, epoch: int = 0, *, error: str = ""
) -> delivery_pb2.ClientMessage:
    line = " ".join(error.split())[:_ERROR_CHARS]
    ack = delivery_pb2.Ack(
        nonce=nonce, resource=resource, name=name, epoch=epoch, ok=not error, error=line
    )
    return delivery_pb2.ClientMessage(ack=ack)


def refusal(message: delivery_pb2.ServerMessage, reason: str) -> delivery_pb2.ClientMessage:
    """Return the NACK of a resource that could not even be examined."""
    which = message.WhichOneof("resource") or ""
    name = message.bundle.digest if which == "bundle" else message.manifest.hook
    line = " ".join(reason.split())[:500]
    ack = delivery_pb2.Ack(nonce=message.nonce, resource=which, name=name, error=line)
    return delivery_pb2.ClientMessage(ack=ack)

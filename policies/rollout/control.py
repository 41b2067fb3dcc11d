"""The control plane without its network: orders, acknowledgements and reports in, pushes out.

Single-threaded. Every change is stored before anything else learns of it, then published, then
written to the ledger; a crash between two of these is made good at the next start.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from gnomon.v1 import delivery_pb2, keys_pb2, policy_pb2

from ...sdk import dsse, keys
from ...sdk.bundle import bundle_digest, read_bundle
from ...sdk.errors import ConfigurationError, GnomonError, RolloutError, TrustError
from ...sdk.records import INCUMBENT
from . import codec, describe, reverifying, signatures
from .accounts import Accounts, assigned
from .anchors import Witnesses
from .blocks import Exclusion
from .desk import Desk, Seat, plain_counters
from .events import Act, Action, Broke, Event, Excluded, Looked, Nacked, Tick
from .ledger import Ledger, LedgerFullError
from .machine import step
from .manifests import sign_manifest
from .plan import Plan, read_plan
from .restoring import check_bundles, check_complete
from .states import ACTIVE, MACHINE, RUNNING, State, Status, draft
from .store import ClientRow, Happened, Row, Store

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

_log = logging.getLogger("gnomon.rollout")

RECALIBRATE = "recalibration required"
#: An epoch that a process claims is believed up to here; beyond lies only mischief.
_MAX_EPOCH = 1 << 53
#: Orders that may put something in force; the others only take back.
RAISING = ("resume", "promote", "retry")
#: A process that left is listed for a day.
LISTED_NS = 86_400 * 1_000_000_000


@dataclass(frozen=True)
class Identity:
    """Whom the control plane trusts, and as whom it signs.

    Attributes:
        rollout_key: signs manifests.
        publishers: keys that may sign bundles and plans.
        names: of their files by keyid, where they are known; for the ledger.
        older: rollout keys that plans made earlier may still name.
        revoked: keyids of keys that may sign nothing any more.
    """

    rollout_key: Ed25519PrivateKey
    publishers: Sequence[Ed25519PublicKey]
    names: Mapping[str, str] = field(default_factory=dict)
    older: Sequence[Ed25519PrivateKey] = ()
    revoked: frozenset[str] = frozenset()

    def signers(self) -> dict[str, Ed25519PrivateKey]:
        """Return the rollout keys by keyid, the one for new plans first."""
        found = (self.rollout_key, *self.older)
        return {keys.keyid(key.public_key()): key for key in found}


class Control:
    """All hooks' rollouts.

    Args:
        store: what must not be forgotten.
        ledger: what must be accounted for.
        identity: keys.
        clock: gives Unix nanoseconds.
        random_bytes: gives that many fresh random bytes.

    Attributes:
        published: called with a hook when its manifest has changed or was renewed.
        changed: called with a rollout's id when anything about it has changed.
        resigned: called with the digest of a bundle that has further signatures.
        witnesses: processes that remember the ledger's heads.

    Raises:
        TrustError: the ledger does not hold, or the store and the keys do not fit.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        identity: Identity,
        clock: Callable[[], int],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self.ledger = ledger
        self.published: Callable[[str], None] = lambda hook: None
        self.changed: Callable[[str], None] = lambda rollout: None
        self.resigned: Callable[[str], None] = lambda digest: None
        self._store = store
        self._identity = identity
        self._clock = clock
        self._random_bytes = random_bytes
        self._desks: dict[str, Desk] = {}
        self._accounts = Accounts()
        self.witnesses = Witnesses(ledger)
        self._past: dict[str, State] = {}
        self._bundles = store.bundles()
        #: Number of the last event up to which the ledger holds all, and later ones that it holds.
        self._accounted = 0
        self._ahead: set[int] = set()
        #: By hook the epoch of which all signatures were found good.
        self._vouched: dict[str, int] = {}
        self._manifests: dict[str, tuple[int, int, policy_pb2.Envelope]] = {}
        self._restore()

    def create(self, bundle: policy_pb2.Envelope, plan: policy_pb2.Envelope, actor: str) -> State:
        """Begin a rollout and return it; the same plan again returns it as it stands.

        Raises:
            TrustError: a signature or digest does not hold.
            RolloutError: the plan cannot be carried out, or not now.
        """
        try:
            return self._create(bundle, plan, actor)
        except GnomonError as error:
            body = {"reason": str(error), "plan": bundle_digest(plan.payload)}
            digest = bundle_digest(bundle.payload)
            self._store.note(Happened("rollout.refused", actor, digest, body))
            self._tell()
            raise

    def act(self, rollout: str, action: str, actor: str, reason: str, request_id: str) -> State:
        """Carry out an operator's order; the same request again changes nothing.

        Raises:
            RolloutError: there is no such rollout, or its state does not allow the order.
        """
        done = self._store.request(request_id) if request_id else ""
        if done:
            return self.get(done)
        state = self.get(rollout)
        desk = self._desks[state.plan.hook]
        if desk.state is None or desk.state.plan.id != state.plan.id:
            raise RolloutError(f"{state.plan.id} is history; the newest is {self._newest(desk)}")
        order: Action = action  # type: ignore[assignment]  # the machine refuses other words
        act = Act(order, actor or "operator", reason, self._random_bytes(16))
        self._apply(desk, act, request_id)
        return self.get(state.plan.id)

    def reverify(self, envelope: policy_pb2.Envelope, actor: str) -> State:
        """Take a fresh verdict on the policy in force; the same one again changes nothing.

        Raises:
            TrustError: no publisher signed it, or it holds no such thing.
            RolloutError: it is not on what is in force, or rests on nothing newer.
        """
        payload = dsse.verify(envelope, dsse.REVERIFICATION_TYPE, self._identity.publishers)
        said = reverifying.read(payload)
        desk = self._desks.get(said.hook)
        if desk is None or desk.state is None:
            raise RolloutError(f"hook {said.hook!r} has no rollout to verify again")
        watch = reverifying.require_watch(desk.state, said.policy)
        if watch.evidence != said.evidence_digest:
            source = self._bundle(said.policy).source
            event = reverifying.checked(said, watch, source, self._clock(), actor or "publisher")
            self._apply(desk, event, actor=event.actor)
        return self._past[desk.state.plan.id]

    def exclude(self, hook: str, exclusion: Exclusion, actor: str) -> int:
        """Leave a stretch of time out of both arms; return how many blocks it touches."""
        desk = self._desks.get(hook)
        if desk is None or desk.state is None or desk.state.status not in RUNNING:
            raise RolloutError(f"hook {hook!r} has no running rollout to exclude blocks from")
        if exclusion.to_ns <= exclusion.from_ns or not exclusion.reason:
            raise RolloutError("an exclusion needs a reason and an end after its start")
        if desk.state.plan.slices:
            raise RolloutError(
                f"hook {hook!r} has sticky arms: a stretch of time is in both arms alike, and sums by "
                "slice cannot leave it out; hold the rollout meanwhile"
            )
        self._apply(desk, Excluded(exclusion), actor=actor or "operator")
        block_ns = desk.state.plan.block_ns
        return -(-exclusion.to_ns // block_ns) - exclusion.from_ns // block_ns

    def trust(self, identity: Identity) -> None:
        """Trust other keys from now on; whatever runs that only revoked ones signed is withdrawn.

        Raises:
            TrustError: something runs that no pinned key signed, and none of its keys is revoked; the keys stay
                as they were.
        """
        for desk in self._desks.values():
            self._check_signed(desk, identity)
        self._identity, self._vouched = identity, {}
        self._note_keys("control.trusted")
        self._tell()
        for desk in self._desks.values():
            self._withdraw(desk)

    def signed(self, hook: str = "") -> list[keys_pb2.InForce]:
        """Return what the hooks' newest rollouts rest on, of all hooks or one."""
        found = [desk for name, desk in sorted(self._desks.items()) if hook in ("", name)]
        return [self._in_force(desk, desk.state) for desk in found if desk.state is not None]

    def rollout_keyids(self) -> list[str]:
        """Return the keys that manifests are signed with; new plans name the first."""
        return list(self._identity.signers())

    def resign(
        self,
        hook: str,
        plan: policy_pb2.Envelope | None,
        bundles: Iterable[policy_pb2.Envelope],
        actor: str,
    ) -> None:
        """Take further signatures of what is in force; the same ones again change nothing.

        Raises:
            TrustError: no pinned key made them.
            RolloutError: they are of something else.
        """
        desk, identity = self._desks.get(hook), self._identity
        if desk is None or desk.state is None:
            raise RolloutError(f"hook {hook!r} has no rollout, so nothing to sign again")
        known, pinned = desk.plan, identity.publishers
        if plan is not None:
            known = signatures.resigned_plan(known, plan, pinned, identity.signers())
        made = dict(signatures.resigned_bundle(self._bundles, b, pinned) for b in bundles)
        new = {digest: data for digest, data in made.items() if data != self._bundles[digest]}
        for digest, data in new.items():
            self._store.put_bundle(digest, data)
            self._bundles[digest] = data
            self.resigned(digest)
        if new or known != desk.plan:
            self._rest_on(desk, desk.state, known, sorted(new), actor)

    def get(self, rollout: str = "") -> State:
        """Return a rollout, the newest one without an id; raises RolloutError for none."""
        if not rollout and self._past:
            return next(reversed(self._past.values()))
        if rollout not in self._past:
            raise RolloutError(f"no rollout {rollout!r}" if rollout else "no rollout yet: ship one")
        return self._past[rollout]

    def rollouts(self, hook: str = "") -> list[State]:
        """Return all rollouts, or those of a hook, oldest first."""
        return [state for state in self._past.values() if hook in ("", state.plan.hook)]

    def epoch(self, hook: str) -> int:
        """Return the highest epoch published for a hook; 0 before the first."""
        return self._desks[hook].epoch if hook in self._desks else 0

    def clients(self, hook: str = "") -> list[Seat]:
        """Return the processes that were heard of, of all hooks or one."""
        desks = [desk for name, desk in sorted(self._desks.items()) if hook in ("", name)]
        return [seat for desk in desks for seat in desk.seats.values()]

    def pushes(self, hook: str, held: Iterable[str]) -> list[delivery_pb2.ServerMessage]:
        """Return what a process must get: bundles that it does not hold, then the manifest."""
        desk = self._desks.get(hook)
        if desk is None or desk.state is None:
            return []
        if desk.state.plan.rollout_keyid not in self._identity.signers():
            _log.warning(
                "hook %s: its plan is for another rollout key; sign it again, or ship again", hook
            )
            return []
        lapse = self._unvouched(desk)
        if lapse is not None:
            _log.warning("hook %s: nothing is sent of a %s, until it is taken back", hook, lapse)
            return []
        target, known = desk.state.target, set(held)
        if target.candidate and self._clock() >= desk.state.plan.not_after_ns:
            return []  # the next turn ends it: this life may have begun after the plan's end
        wanted = [d for d in (target.stable, target.candidate) if d not in ("", INCUMBENT)]
        messages = [self._bundle_push(digest) for digest in wanted if digest not in known]
        push = delivery_pb2.ManifestPush(hook=hook, envelope=self._manifest(desk))
        return [*messages, delivery_pb2.ServerMessage(manifest=push)]

    def hello(self, node: delivery_pb2.Node, hooks: Iterable[delivery_pb2.HookState]) -> None:
        """Note that a process is there with these hooks."""
        for hook in hooks:
            desk = self._desk(hook.hook)
            if node.instance not in desk.seats:
                self._accounts.new(desk.hook, node.instance)
            seat = desk.seats.setdefault(
                node.instance, Seat(node.service, node.instance, node.cell)
            )
            seat.service, seat.cell, seat.connected = node.service, node.cell, True
            seat.kind = f"{hook.kind} v{hook.kind_version}"
            desk.unstored.add(node.instance)
            if desk.epoch < hook.epoch < _MAX_EPOCH:
                self._overtake(desk, hook.epoch)

    def gone(self, instance: str) -> None:
        """Note that a process's stream has ended."""
        self.witnesses.gone(instance)
        for desk in self._desks.values():
            if instance in desk.seats:
                desk.seats[instance].connected = False
                desk.seats[instance].gone_ns = self._clock()
                self._accounts.gone(desk.hook, desk.seats[instance], self._clock())
                self._notify(desk)

    def accept(self, actor: str, reason: str) -> None:
        """Take what processes remember and the ledger does not hold as lost, as after a restored backup.

        Raises:
            RolloutError: there is nothing in dispute, or no reason.
        """
        if not self.witnesses.disputes or not reason:
            raise RolloutError("nothing is in dispute" if reason else "say why, with --reason")
        self._store.note(self.witnesses.acceptance(actor or "operator", reason))
        self.witnesses.accept()
        self._account()

    def ack(self, instance: str, ack: delivery_pb2.Ack) -> None:
        """Take an acknowledgement or refusal of one resource into account."""
        disputed = self.witnesses.say(instance, ack.anchor, self._clock())
        if disputed is not None:
            self._store.note(disputed)
            self._account()
        for desk in self._desks.values():
            seat = desk.seats.get(instance)
            if seat is not None and desk.state is not None and _concerns(desk, ack):
                self._acked(desk, seat, ack)

    def report(self, instance: str, report: delivery_pb2.HookReport) -> None:
        """Take a process's report on one hook into account."""
        desk = self._desks.get(report.hook)
        seat = desk.seats.get(instance) if desk else None
        if desk is not None and seat is not None and report.killed[:500] != seat.killed:
            self._killed(desk, seat, report.killed[:500])
        if desk is not None and seat is not None:
            self._accounts.counted(desk.hook, instance, plain_counters(report), self._clock())
        if desk is None or seat is None or not desk.take(seat, report, self._clock()):
            return
        if report.breaker:
            self._apply(desk, Broke(instance, report.breaker[:500]))

    def tick(self) -> None:
        """Let time pass: judge pairs, renew leases, end soaks; call it a few times a second.

        One hook's trouble, or the ledger's, keeps no other hook from its turn; the first is raised
        once all had theirs.
        """
        troubles: list[Exception] = []
        turns: list[Callable[[], None]] = [partial(self._turn, d) for d in self._desks.values()]
        for turn in (self._settle, *turns):
            try:
                turn()
            except Exception as error:  # noqa: BLE001 - hooks must not fall for each other
                troubles.append(error)
        for trouble in troubles[1:]:
            if not isinstance(trouble, GnomonError):  # whose words come when the first is cured
                _log.error("a tick failed once more", exc_info=trouble)
        if troubles:
            raise troubles[0]

    def _check_signed(self, desk: Desk, identity: Identity) -> None:
        lapse = self._lapse(desk, identity)
        if lapse is not None and not identity.revoked.intersection(lapse.keyids):
            raise TrustError(
                f"hook {desk.hook} runs a {lapse}, which is not pinned; pin it, and sign again with: "
                "gnomon keys resign, or take back what it signed with: gnomon keys revoke"
            )

    def _check_vouched(self, desk: Desk, after: State) -> None:
        """Refuse an order that would put in force what no pinned key signed, as on hold nobody took it back."""
        publishers = self._identity.publishers
        lapse = signatures.lapsed(after, desk.plan, self._bundles, publishers)
        if lapse is not None:
            raise TrustError(
                f"rollout {after.plan.id} would run a {lapse}, which is not pinned; sign it again with: "
                "gnomon keys resign, or ship it again"
            )

    def _lapse(self, desk: Desk, identity: Identity) -> signatures.Lapse | None:
        if desk.state is None:
            return None
        return signatures.lapsed(desk.state, desk.plan, self._bundles, identity.publishers)

    def _withdraw(self, desk: Desk) -> None:
        """Kill what runs without a pinned key's signature; where that cannot be stored, the next turn tries again."""
        lapse = self._unvouched(desk)
        if lapse is not None:
            self._apply(desk, Act("kill", "control plane", f"{lapse}, which is revoked"))

    def _unvouched(self, desk: Desk) -> signatures.Lapse | None:
        """Return what runs without a pinned key's signature; looked at once for every epoch and set of keys."""
        if self._vouched.get(desk.hook) == desk.epoch:
            return None
        lapse = self._lapse(desk, self._identity)
        if lapse is None:
            self._vouched[desk.hook] = desk.epoch
        return lapse

    def _rest_on(
        self, desk: Desk, state: State, plan: bytes, bundles: list[str], actor: str
    ) -> None:
        """Go on under a plan that was signed again, with a manifest of its own."""
        envelope = policy_pb2.Envelope.FromString(plan)
        after = replace(state, plan=self._plan_of(envelope))
        new = replace(desk, plan=plan, epoch=desk.epoch + 1)
        new.entered(state, after)
        body: dict[str, Any] = {"hook": desk.hook, "bundles": bundles}
        body["plan_signed_by"] = self._signers(envelope)
        body |= {"rollout_keyid": after.plan.rollout_keyid, "epoch": new.epoch}
        told = Happened("keys.resigned", actor or "publisher", after.plan.id, body)
        self._store.save(_row(new, after), [told])
        desk.become(new)
        self._past[after.plan.id] = after
        self.published(desk.hook)
        self._tell()
        self.changed(after.plan.id)

    def _in_force(self, desk: Desk, state: State) -> keys_pb2.InForce:
        bundles = [self._bundles[d] for d in signatures.within_reach(state) if d in self._bundles]
        return keys_pb2.InForce(
            hook=desk.hook,
            rollout=state.plan.id,
            plan=policy_pb2.Envelope.FromString(desk.plan),
            bundles=map(policy_pb2.Envelope.FromString, bundles),
        )

    def started(self) -> None:
        """Write down that a control plane begins here, and whom it trusts; nothing is connected yet."""
        self._note_keys("control.started")
        self._account()

    def _note_keys(self, kind: str) -> None:
        """Write down whom the control plane trusts."""
        own, names = keys.keyid(self._identity.rollout_key.public_key()), self._identity.names
        known = (keys.keyid(key) for key in self._identity.publishers)
        body: dict[str, Any] = {"publishers": {keyid: names.get(keyid, "") for keyid in known}}
        body["revoked"] = sorted(self._identity.revoked)
        self._store.note(Happened(kind, MACHINE, own, body))

    def stopping(self) -> None:
        """Write down what could still wait; call it last, when the streams have ended."""
        self._settle(all_of_it=True)

    def _settle(self, *, all_of_it: bool = False) -> None:
        for happened in self._accounts.due(self._clock(), all_of_it=all_of_it):
            self._store.note(happened)
        self._account()

    def _turn(self, desk: Desk) -> None:
        left = desk.leave(self._clock() - LISTED_NS)
        if left:
            self._store.drop_clients(desk.hook, [seat.instance for seat in left])
            self._accounts.forget(desk.hook, [seat.instance for seat in left])
        self._keep_clients(desk)
        if desk.state is not None:
            self._flush(desk)
            self._look(desk)
            self._withdraw(desk)
            self._renew(desk)

    def _keep_clients(self, desk: Desk) -> None:
        """Store in one transaction what a tick's hellos and answers have changed.

        What a crash loses of it, the processes say again when they come back.
        """
        if desk.unstored:
            changed = [desk.seats[name] for name in desk.unstored if name in desk.seats]
            desk.unstored.clear()
            try:
                self._store.put_clients(_client_row(desk.hook, seat) for seat in changed)
            except RolloutError as error:  # it is for the list alone: no order may wait for it
                _log.warning("%d processes are not noted: %s", len(changed), error)

    def _create(self, bundle: policy_pb2.Envelope, plan: policy_pb2.Envelope, actor: str) -> State:
        publishers = self._identity.publishers
        words = self._read_plan(plan)
        payload = dsse.verify(bundle, dsse.BUNDLE_TYPE, publishers)
        desk = self._desk(words.hook)
        if words.id in self._past:
            return self._repeated(words)
        self._check(desk, words, read_bundle(payload), bundle_digest(payload))
        self._keep(words.candidate, bundle)
        body = describe.plan(words) | {"provenance": dict(read_bundle(payload).provenance)}
        body["manifests_signed_by"] = keys.keyid(self._identity.rollout_key.public_key())
        body |= {"bundle_signed_by": self._signers(bundle), "plan_signed_by": self._signers(plan)}
        created = Happened("rollout.created", actor or "publisher", words.id, body)
        watches = reverifying.watches(words, read_bundle(payload), desk.state)
        begun = draft(words, self._random_bytes(16), self._clock(), watches)
        after = step(begun, Tick(), self._clock())
        self._enter(desk, after, None, [created], plan=plan.SerializeToString())
        return self._past[words.id]

    def _signers(self, envelope: policy_pb2.Envelope) -> dict[str, str]:
        """Return the publisher keys that signed an envelope, with the names of their files."""
        found = dsse.signers(envelope, self._identity.publishers)
        return {keyid: self._identity.names.get(keyid, "") for keyid in found}

    def _read_plan(self, envelope: policy_pb2.Envelope) -> Plan:
        """Verify and read a plan."""
        dsse.verify(envelope, dsse.PLAN_TYPE, self._identity.publishers)
        return self._plan_of(envelope)

    def _plan_of(self, envelope: policy_pb2.Envelope) -> Plan:
        """Read a plan; predictions may name the stable policy by its source alone."""
        plan = read_plan(envelope.payload)
        if plan.stable in plan.predicted or plan.stable not in self._bundles:
            return plan
        source = hashlib.sha256(self._bundle(plan.stable).source.encode()).hexdigest()
        if source not in plan.predicted:
            return plan
        return replace(plan, predicted={**plan.predicted, plan.stable: plan.predicted[source]})

    def _repeated(self, plan: Plan) -> State:
        known = self._past[plan.id]
        if known.plan != plan:
            raise RolloutError(
                f"plan id {plan.id} was used for another plan; give this one its own"
            )
        return known

    def _check(self, desk: Desk, plan: Plan, bundle: policy_pb2.Bundle, digest: str) -> None:
        """Refuse a plan that does not fit its bundle, this control plane, or the hook's state."""
        own = keys.keyid(self._identity.rollout_key.public_key())
        problem = (
            _misfit(plan, bundle, digest)
            or (
                plan.rollout_keyid != own
                and f"it names rollout key {plan.rollout_keyid[:16]!r}, "
                f"this control plane signs as {own[:16]}"
            )
            or (plan.not_after_ns <= self._clock() and "it has expired; make a new one")
            or self._occupied(desk, plan)
            or self._uncalibrated(desk, bundle)
        )
        if problem:
            raise RolloutError(f"plan {plan.id}: {problem}")
        _check_language(bundle)

    def _occupied(self, desk: Desk, plan: Plan) -> str:
        if desk.state is None:
            stable = INCUMBENT
        elif desk.state.status in ACTIVE:
            return (
                f"rollout {desk.state.plan.id} of hook {desk.hook} is {desk.state.status}; end it"
            )
        else:
            stable = desk.state.stable
        if plan.stable != stable:
            return f"it is against {plan.stable[:16]!r}, but {stable[:16]!r} is stable"
        return ""

    def _uncalibrated(self, desk: Desk, bundle: policy_pb2.Bundle) -> str:
        """Refuse what rests on a simulator that was found wrong, however long ago on this hook."""
        named = bundle.provenance.get("calibration", "")
        for state in self.rollouts(desk.hook):
            if state.calibration != RECALIBRATE:
                continue
            before = self._bundle(state.plan.candidate).provenance.get("calibration", "")
            newest = desk.state is not None and state.plan.id == desk.state.plan.id
            if named in (("", before) if newest else (before,)) and (named or newest):
                break
        else:
            return ""
        return (
            f"recalibration required since rollout {state.plan.id}: verify on a newer trace, "
            "or record it with: gnomon rollout recalibrated"
        )

    def _bundle(self, digest: str) -> policy_pb2.Bundle:
        return read_bundle(policy_pb2.Envelope.FromString(self._bundles[digest]).payload)

    def _keep(self, digest: str, bundle: policy_pb2.Envelope) -> None:
        envelope = bundle.SerializeToString()
        if digest in self._bundles:
            envelope = signatures.merged(self._bundles[digest], bundle)
        self._store.put_bundle(digest, envelope)
        self._bundles[digest] = envelope

    def _acked(self, desk: Desk, seat: Seat, ack: delivery_pb2.Ack) -> None:
        if ack.ok:
            if ack.resource == "manifest" and ack.epoch <= desk.epoch:
                seat.epoch = max(seat.epoch, ack.epoch)
                runs = assigned(desk.state) if desk.state and ack.epoch == desk.epoch else None
                self._accounts.acked(desk.hook, seat, ack.epoch, runs, self._clock())
        else:
            seat.error = ack.error[:500]
            body = {"hook": desk.hook, "resource": ack.resource, "error": seat.error}
            happened = Happened("delivery.refused", seat.instance, ack.name, body)
            self._store.note(happened)
            self._tell()
            self._apply(desk, Nacked(seat.instance, ack.resource, seat.error))
        desk.unstored.add(seat.instance)
        self._notify(desk)

    def _killed(self, desk: Desk, seat: Seat, why: str) -> None:
        """Account for a process in which somebody stopped all policies by hand, or lets them go again."""
        what = "delivery.killed" if why else "delivery.unkilled"
        self._store.note(Happened(what, seat.instance, desk.hook, {"hook": desk.hook, "why": why}))
        seat.killed = why
        self._tell()
        self._notify(desk)

    def _look(self, desk: Desk) -> None:
        """See whether what is known by now moves the rollout."""
        state = desk.state
        if state is None:
            return
        event: Event = Tick()
        if state.status not in RUNNING:
            event = desk.upkeep(self._clock())
        elif state.status is Status.SHADOW:
            event = desk.shadowed()
        elif state.status is Status.FULL:
            event = desk.served()
        else:
            event = desk.findings(self._clock())
            if isinstance(
                event, Looked
            ):  # at first at every tick: faults do not wait for one without
                self._apply(desk, desk.fell())
        self._apply(desk, event)

    def _apply(
        self, desk: Desk, event: Event, request_id: str = "", *, actor: str = MACHINE
    ) -> None:
        before = desk.state
        if before is None:
            return
        after = step(before, event, self._clock())
        if isinstance(event, Act) and event.action in RAISING:
            self._check_vouched(desk, after)
        if after is not before or request_id:
            extra = describe.extras(event, before, after, actor)
            self._enter(desk, after, before, extra, request_id)

    def _enter(
        self,
        desk: Desk,
        after: State,
        before: State | None,
        extra: list[Happened],
        request_id: str = "",
        *,
        plan: bytes = b"",
    ) -> None:
        """Store a new state, then publish it, then account for it.

        What cannot be stored has not happened: the desk stays as it was.
        """
        if after == before and not extra and not request_id:
            return
        moved = before is None or before.target != after.target
        new = replace(desk, plan=plan or desk.plan)
        if new.entered(before, after):
            new.mark()
        if moved:
            new.epoch += 1
        if before is None or before.attempt != after.attempt:
            new.first_epoch = new.epoch
        made = describe.transitions(before, after, new.epoch)
        told = [*extra, *made] if before is None else [*made, *extra]
        self._store.save(_row(new, after), told, request_id)
        desk.become(new)
        self._past[after.plan.id] = after
        if moved:
            self.published(desk.hook)
        try:
            self._tell()
        finally:
            self.changed(after.plan.id)

    def _overtake(self, desk: Desk, epoch: int) -> None:
        """Go on from an epoch that a process has seen, as after a loss of the control plane's state."""
        _log.warning("hook %s: a process has seen epoch %d, going on from there", desk.hook, epoch)
        if desk.state is None:
            desk.epoch = epoch
            return
        new = replace(desk, epoch=epoch + 1)
        self._store.save(_row(new, desk.state), [])
        desk.become(new)
        self.published(desk.hook)

    def _tell(self) -> None:
        """Account for what is stored; it stands also where the ledger takes nothing at present."""
        try:
            self._account()
        except LedgerFullError as error:  # every tick tries again, and fails as long as it does
            _log.error("%s; it is made good later", error)

    def _account(self) -> None:
        """Write to the ledger, in order, what it does not hold yet; stop where it takes no more.

        What is left stays the store's backlog, which every later call begins with.
        """
        for event in self._store.events(self._accounted):
            if event.number not in self._ahead:
                body = {**event.body, "event": event.number}
                entry = self.ledger.append(event.kind, event.actor, event.subject, body)
                self.witnesses.head = entry.anchor
                said = (event.kind, event.subject, event.actor, entry.anchor)
                _log.info("%s %s %s ledger %s", *said)
            self._accounted = event.number
            self._ahead.discard(event.number)

    def _notify(self, desk: Desk) -> None:
        if desk.state is not None:
            self.changed(desk.state.plan.id)

    def _flush(self, desk: Desk) -> None:
        if desk.dirty and desk.state is not None:
            latest = {(r.instance, r.cell, r.block, r.arm): r for r in desk.dirty}
            self._store.put_reports(desk.state.plan.id, desk.state.attempt, latest.values())
            desk.dirty = []
        if desk.pool is not None and desk.state is not None:
            gone = {seat.instance for seat in desk.seats.values() if not seat.connected}
            due = desk.pool.due(self._clock(), gone)
            sums = [(instance, report.SerializeToString()) for instance, report in due]
            self._store.put_sums(desk.state.plan.id, desk.state.attempt, sums)
            for instance, _ in sums:
                desk.pool.stored(instance, self._clock())

    def _renew(self, desk: Desk) -> None:
        state = desk.state
        if state is None or state.status not in RUNNING:
            return
        _, issued, _ = self._manifests.get(desk.hook, (0, 0, None))
        if self._clock() - issued >= state.plan.lease_ns // 3:
            self._manifests.pop(desk.hook, None)
            self.published(desk.hook)

    def _manifest(self, desk: Desk) -> policy_pb2.Envelope:
        """Return the manifest in force, signed once for all processes while it is fresh."""
        assert desk.state is not None
        now = self._clock()
        epoch, issued, envelope = self._manifests.get(desk.hook, (0, 0, None))
        if envelope is None or epoch != desk.epoch or now - issued >= desk.state.plan.lease_ns // 3:
            key = self._identity.signers()[desk.state.plan.rollout_keyid]
            envelope = sign_manifest(desk.state, desk.plan, desk.epoch, now, key)
            self._manifests[desk.hook] = (desk.epoch, now, envelope)
        return envelope

    def _bundle_push(self, digest: str) -> delivery_pb2.ServerMessage:
        envelope = policy_pb2.Envelope.FromString(self._bundles[digest])
        push = delivery_pb2.BundlePush(digest=digest, envelope=envelope)
        return delivery_pb2.ServerMessage(bundle=push)

    def _desk(self, hook: str) -> Desk:
        return self._desks.setdefault(hook, Desk(hook))

    def _newest(self, desk: Desk) -> str:
        return desk.state.plan.id if desk.state else "none"

    def _restore(self) -> None:
        """Take up where an earlier life stopped, and account for what it could not any more."""
        check = self.ledger.verify()
        if not check.ok:
            raise TrustError(
                f"ledger {self.ledger.path}: {check.problem}; keep it and start a new one"
            )
        check_bundles(self._bundles)
        for row in self._store.rollouts():
            try:
                self._restore_row(row)
            except (ArithmeticError, DecodeError, LookupError, TypeError, ValueError) as error:
                raise TrustError(
                    f"rollout {row.id} in the store is damaged ({error}); restore the state folder"
                ) from error
        for hook, epoch in self._store.epochs().items():
            self._desk(hook).epoch = epoch
        for client in self._store.clients():
            seat = Seat(client.service, client.instance, client.cell)
            seat.epoch, seat.error, seat.gone_ns = client.epoch, client.error, self._clock()
            self._desk(client.hook).seats[client.instance] = seat
        for desk in self._desks.values():
            self._check_signed(desk, self._identity)
        self._ahead = {entry.body.get("event", 0) for entry in self.ledger.list()}
        check_complete(self.ledger, max(self._ahead, default=0), self._store.last_event())
        self._account()

    def _restore_row(self, row: Row) -> None:
        envelope = policy_pb2.Envelope.FromString(row.plan)
        state = codec.from_json(self._plan_of(envelope), row.state)
        desk = self._desk(row.hook)
        desk.entered(None, state)
        desk.plan, desk.first_epoch, desk.marks = row.plan, row.first_epoch, row.marks
        self._past[row.id] = state
        for report in self._store.reports(row.id, state.attempt):
            desk.blocks.put(report)
        if desk.pool is not None:
            sums = self._store.sums(row.id, state.attempt)
            desk.restore_pool(row.state["weight_epoch"], sums)


def _misfit(plan: Plan, bundle: policy_pb2.Bundle, digest: str) -> str:
    if plan.candidate != digest:
        return f"its candidate {plan.candidate[:16]!r} is not the bundle, which is {digest[:16]}"
    if plan.hook != bundle.hook:
        return f"it is for hook {plan.hook!r}, its bundle for {bundle.hook!r}"
    if plan.evidence_digest != bundle.evidence_digest:
        return "plan and bundle rest on different verdicts"
    return ""


def _check_language(bundle: policy_pb2.Bundle) -> None:
    """Refuse early what every service would refuse; of a program, as far as its kind is known here."""
    from ...sdk.language import check, check_program
    from .. import registry

    if bundle.form != "program":
        check(bundle.source, tuple(bundle.inputs))
        return
    try:
        contract = registry.kind(bundle.kind).program
    except ConfigurationError:  # a kind of the service's own, whose contract only it has
        return
    if contract is not None:
        check_program(bundle.source, contract)


def _concerns(desk: Desk, ack: delivery_pb2.Ack) -> bool:
    """Return whether an answer is about what is in force now."""
    if ack.resource == "manifest":
        return ack.name == desk.hook and (ack.ok or ack.epoch == desk.epoch)
    target = desk.state.target if desk.state else None
    return target is not None and ack.name in (target.stable, target.candidate)


def _client_row(hook: str, seat: Seat) -> ClientRow:
    return ClientRow(hook, seat.instance, seat.service, seat.cell, seat.epoch, seat.error)


def _row(desk: Desk, state: State) -> Row:
    data: dict[str, Any] = codec.to_json(state)
    data["weight_epoch"] = desk.pool.epoch if desk.pool else 0
    return Row(
        state.plan.id, desk.hook, desk.plan, desk.epoch, desk.first_epoch, dict(desk.marks), data
    )

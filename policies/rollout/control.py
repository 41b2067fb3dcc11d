"""The control plane without its network: orders, acknowledgements and reports in, pushes out.

Single-threaded. Every change is stored before anything else learns of it, then published, then
written to the ledger (``commits.py``); a crash between two of these is made good at the next start.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from gnomon.v1 import delivery_pb2, keys_pb2, policy_pb2

from ...sdk import dsse
from ...sdk.bundle import bundle_digest, read_bundle
from ...sdk.errors import GnomonError, RolloutError
from ...sdk.records import INCUMBENT
from . import describe, restoring, reverifying
from .admission import Admission
from .backlog import Backlog
from .blocks import Exclusion
from .bundles import Bundles
from .commits import Commits
from .desk import Seat
from .desks import Desks
from .events import Act, Action, Excluded, Tick
from .fleet import Fleet
from .identity import Identity, Trust
from .ledger import Ledger
from .machine import step
from .manifests import Manifests
from .rotation import Rotation
from .states import RUNNING, State, draft
from .store import Happened, Store
from .turns import Turns

_log = logging.getLogger("gnomon.rollout")

#: Orders that may put something in force; the others only take back.
RAISING = ("resume", "promote", "retry")


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
        self._clock = clock
        self._random_bytes = random_bytes
        self._backlog = Backlog(store, ledger)
        self.witnesses = self._backlog.witnesses
        self._bundles = Bundles(store)
        self._manifests = Manifests()
        desks = self._desks = Desks()
        trust = self._trust = Trust(identity, self._bundles)
        self._admission = Admission(desks, self._bundles, trust, clock)
        self._commits = Commits(
            store,
            desks,
            self._backlog,
            clock,
            published=lambda hook: self.published(hook),  # who listens is set later
            changed=lambda rollout: self.changed(rollout),
        )
        self._rotation = Rotation(
            desks, self._bundles, trust, self._commits, lambda digest: self.resigned(digest)
        )
        self._fleet = Fleet(store, desks, self._commits, self._backlog, clock)
        self._turns = Turns(desks, self._fleet, trust, self._manifests, self._commits, clock)
        self._restore()

    def _restore(self) -> None:
        """Take up where an earlier life stopped, and account for what it could not any more."""
        restoring.check_ledger(self.ledger)
        restoring.check_bundles(self._bundles.envelopes)
        restoring.restore(self._store, self._desks, self._bundles, self._clock())
        for desk in self._desks:
            self._trust.require(desk, self._trust.identity)
        self._backlog.resume()

    def started(self) -> None:
        """Write down that a control plane begins here, and whom it trusts; nothing is connected yet."""
        self._backlog.note(self._trust.identity.told("control.started"))
        self._backlog.account()

    def stopping(self) -> None:
        """Write down what could still wait; call it last, when the streams have ended."""
        self._fleet.settle(all_of_it=True)

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
            self._backlog.note(Happened("rollout.refused", actor, digest, body))
            self._backlog.tell()
            raise

    def _create(self, bundle: policy_pb2.Envelope, plan: policy_pb2.Envelope, actor: str) -> State:
        identity = self._trust.identity
        dsse.verify(plan, dsse.PLAN_TYPE, identity.publishers)
        words = self._bundles.plan(plan)
        payload = dsse.verify(bundle, dsse.BUNDLE_TYPE, identity.publishers)
        desk, known = self._desks[words.hook], self._admission.repeated(words)
        if known is not None:
            return known
        about = read_bundle(payload)
        self._admission.require(desk, words, about, bundle_digest(payload))
        self._bundles.keep(words.candidate, bundle)
        signed_by = {"bundle": identity.signed_by(bundle), "plan": identity.signed_by(plan)}
        body = describe.created(words, about, signed_by, identity.keyid)
        created = Happened("rollout.created", actor or "publisher", words.id, body)
        watches = reverifying.watches(words, about, desk.state)
        begun = draft(words, self._random_bytes(16), self._clock(), watches)
        after = step(begun, Tick(), self._clock())
        self._commits.enter(desk, after, None, [created], plan=plan.SerializeToString())
        return self._desks.rollout(words.id)

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
            newest = desk.state.plan.id if desk.state else "none"
            raise RolloutError(f"{state.plan.id} is history; the newest is {newest}")
        order: Action = action  # type: ignore[assignment]  # the machine refuses other words
        act = Act(order, actor or "operator", reason, self._random_bytes(16))
        if order in RAISING:
            self._trust.require_vouched(desk, step(desk.state, act, self._clock()))
        self._commits.apply(desk, act, request_id)
        return self.get(state.plan.id)

    def reverify(self, envelope: policy_pb2.Envelope, actor: str) -> State:
        """Take a fresh verdict on the policy in force; the same one again changes nothing.

        Raises:
            TrustError: no publisher signed it, or it holds no such thing.
            RolloutError: it is not on what is in force, or rests on nothing newer.
        """
        publishers = self._trust.identity.publishers
        said = reverifying.read(dsse.verify(envelope, dsse.REVERIFICATION_TYPE, publishers))
        desk = self._desks.get(said.hook)
        if desk is None or desk.state is None:
            raise RolloutError(f"hook {said.hook!r} has no rollout to verify again")
        watch = reverifying.require_watch(desk.state, said.policy)
        if watch.evidence != said.evidence_digest:
            source = self._bundles.read(said.policy).source
            event = reverifying.checked(said, watch, source, self._clock(), actor or "publisher")
            self._commits.apply(desk, event, actor=event.actor)
        return self._desks.rollout(desk.state.plan.id)

    def exclude(self, hook: str, exclusion: Exclusion, actor: str) -> int:
        """Leave a stretch of time out of both arms; return how many blocks it touches."""
        desk = self._desks.get(hook)
        if desk is None or desk.state is None or desk.state.status not in RUNNING:
            raise RolloutError(f"hook {hook!r} has no running rollout to exclude blocks from")
        if exclusion.to_ns <= exclusion.from_ns or not exclusion.reason.strip():
            raise RolloutError("an exclusion needs a reason and an end after its start")
        if desk.state.plan.slices:
            raise RolloutError(
                f"hook {hook!r} has sticky arms: a stretch of time is in both arms alike, and sums by "
                "slice cannot leave it out; hold the rollout meanwhile"
            )
        self._commits.apply(desk, Excluded(exclusion), actor=actor or "operator")
        block_ns = desk.state.plan.block_ns
        return -(-exclusion.to_ns // block_ns) - exclusion.from_ns // block_ns

    def get(self, rollout: str = "") -> State:
        """Return a rollout, the newest one without an id; raises RolloutError for none."""
        return self._desks.rollout(rollout)

    def rollouts(self, hook: str = "") -> list[State]:
        """Return all rollouts, or those of a hook, oldest first."""
        return self._desks.rollouts(hook)

    def tick(self) -> None:
        """Let time pass: judge pairs, renew leases, end soaks; call it a few times a second.

        One hook's trouble, or the ledger's, keeps no other hook from its turn; the first is raised
        once all had theirs.
        """
        self._turns.tick()

    def trust(self, identity: Identity) -> None:
        """Trust other keys from now on; whatever runs that only revoked ones signed is withdrawn.

        Raises:
            TrustError: something runs that no pinned key signed, and none of its keys is revoked; the keys stay
                as they were.
        """
        for desk in self._desks:
            self._trust.require(desk, identity)
        self._trust.change(identity)
        self._backlog.note(identity.told("control.trusted"))
        self._backlog.tell()
        for desk in self._desks:
            self._turns.withdraw(desk)

    def signed(self, hook: str = "") -> list[keys_pb2.InForce]:
        """Return what the hooks' newest rollouts rest on, of all hooks or one."""
        return self._rotation.signed(hook)

    def rollout_keyids(self) -> list[str]:
        """Return the keys that manifests are signed with; new plans name the first."""
        return list(self._trust.identity.signers())

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
        self._rotation.resign(hook, plan, bundles, actor)

    def hello(self, node: delivery_pb2.Node, hooks: Iterable[delivery_pb2.HookState]) -> None:
        """Note that a process is there with these hooks."""
        self._fleet.hello(node, hooks)

    def gone(self, instance: str) -> None:
        """Note that a process's stream has ended."""
        self._fleet.gone(instance)

    def ack(self, instance: str, ack: delivery_pb2.Ack) -> None:
        """Take an acknowledgement or refusal of one resource into account."""
        self._fleet.ack(instance, ack)

    def report(self, instance: str, report: delivery_pb2.HookReport) -> None:
        """Take a process's report on one hook into account."""
        self._fleet.report(instance, report)

    def clients(self, hook: str = "") -> list[Seat]:
        """Return the processes that were heard of, of all hooks or one."""
        return [seat for desk in self._desks.of(hook) for seat in desk.seats.values()]

    def epoch(self, hook: str) -> int:
        """Return the highest epoch published for a hook; 0 before the first."""
        desk = self._desks.get(hook)
        return desk.epoch if desk else 0

    def pushes(self, hook: str, held: Iterable[str]) -> list[delivery_pb2.ServerMessage]:
        """Return what a process must get: bundles that it does not hold, then the manifest."""
        desk, signers = self._desks.get(hook), self._trust.identity.signers()
        if desk is None or desk.state is None:
            return []
        if desk.state.plan.rollout_keyid not in signers:
            _log.warning(
                "hook %s: its plan is for another rollout key; sign it again, or ship again", hook
            )
            return []
        lapse = self._trust.lapse(desk)
        if lapse is not None:
            _log.warning("hook %s: nothing is sent of a %s, until it is taken back", hook, lapse)
            return []
        target, known = desk.state.target, set(held)
        if target.candidate and self._clock() >= desk.state.plan.not_after_ns:
            return []  # the next turn ends it: this life may have begun after the plan's end
        wanted = [d for d in (target.stable, target.candidate) if d not in ("", INCUMBENT)]
        messages = [self._bundles.push(digest) for digest in wanted if digest not in known]
        envelope = self._manifests.current(desk, self._clock(), signers)
        push = delivery_pb2.ManifestPush(hook=hook, envelope=envelope)
        return [*messages, delivery_pb2.ServerMessage(manifest=push)]

    def accept(self, actor: str, reason: str) -> None:
        """Take what processes remember and the ledger does not hold as lost, as after a restored backup.

        Raises:
            RolloutError: there is nothing in dispute, or no reason.
        """
        if not self.witnesses.disputes or not reason.strip():
            raise RolloutError(
                "nothing is in dispute" if reason.strip() else "say why, with --reason"
            )
        self._backlog.note(self.witnesses.acceptance(actor or "operator", reason))
        self.witnesses.accept()
        self._backlog.account()

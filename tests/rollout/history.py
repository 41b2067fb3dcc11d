"""What happened in a fleet, and whether it was allowed to: the safety properties as code.

A history is a sequence of events in the order in which they happened, each with the true time and the
process that it happened in. Where it comes from (a simulation, real processes) makes no difference.
The properties are written down, with the same names, in ``docs/reference/safety.md``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .events import (
    INCUMBENT,
    Acked,
    Answered,
    Counted,
    Decided,
    Entry,
    Event,
    Installed,
    Moved,
    Ordered,
    Planned,
    Published,
    Restarted,
    Restored,
    Settled,
    Trusted,
)
from .vouching import Vouching

_FULL_WEIGHT = 0.5


def check(history: Sequence[Event], *, deadline_ns: int = 60_000_000_000) -> list[str]:
    """Return what was not allowed, one line each; empty for a safe history.

    Args:
        history: events in order.
        deadline_ns: beyond its lease, for how long a manifest may still be taken up: the longest
            delay that goes unnoticed, which is the processes' tolerance of clocks plus their errors.
    """
    found, vouching = _Fleet(deadline_ns), Vouching()
    for event in history:
        if isinstance(event, Trusted):
            found.forget(event)
        found.take(event)
        vouching.take(event)
    return [*found.problems, *vouching.problems, *_orders(history), *_ledger(history)]


@dataclass(slots=True)
class _Held:
    """What one process has of one hook.

    Attributes:
        manifest: in force; None before the first.
        until_ns: up to when a candidate may decide.
        issued_ns: of the newest manifest that counted for the lease.
        kept: the last manifest that was put in force, in this life or an earlier one with the same state.
        acked: highest epoch acknowledged, over all lives with the same state.
        killed: highest epoch of an acknowledged kill, likewise.
    """

    manifest: Published | None = None
    until_ns: int = 0
    issued_ns: int = 0
    kept: Published | None = None
    acked: int = 0
    killed: int = 0


@dataclass(slots=True)
class _Fleet:
    """Replays a history against what the control plane published."""

    deadline_ns: int
    problems: list[str] = field(default_factory=list)
    plans: dict[str, Planned] = field(default_factory=dict)
    #: By hook and content; by hook and epoch the time of the first.
    published: dict[tuple[str, str], Published] = field(default_factory=dict)
    first: dict[str, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    said: dict[tuple[str, int], tuple[object, ...]] = field(default_factory=dict)
    held: dict[tuple[str, str], _Held] = field(default_factory=lambda: defaultdict(_Held))
    killing: dict[str, str] = field(default_factory=dict)
    killed: dict[str, int] = field(default_factory=dict)

    def take(self, event: Event) -> None:
        """Take the next event into account."""
        match event:
            case Planned():
                self.plans[event.rollout] = event
            case Published():
                self._published(event)
            case Installed():
                self._installed(event)
            case Acked():
                self._acked(event)
            case Decided():
                self._decided(event)
            case Restarted():
                self._restarted(event)
            case Restored():
                # Epochs and kills after the copy are forgotten here; what processes acknowledged is not.
                self.first.clear(), self.said.clear(), self.killed.clear(), self.killing.clear()
            case Counted() if event.since_ns < event.begun_ns:
                what = f"attempt {event.attempt} of {event.rollout} began at {event.begun_ns}"
                self._say(event, "evidence", f"{what}, its evidence at {event.since_ns}")
            case Ordered(action="kill"):
                self.killing[event.request] = event.rollout
            case Answered(ok=True) if event.request in self.killing:
                self.killed.setdefault(self.killing[event.request], event.time_ns)
            case _:
                pass

    def _say(self, event: Event, name: str, words: str) -> None:
        self.problems.append(f"{name}: {event.process} at {event.time_ns}: {words}")

    def _published(self, event: Published) -> None:
        self.published[event.hook, event.content] = event
        self.first[event.hook].setdefault(event.epoch, event.time_ns)
        if not event.kill and event.rollout in self.killed:
            self._say(event, "killed", f"{event.rollout} is published after its kill was answered")
        words = (
            event.rollout,
            event.stable,
            event.candidate,
            event.phase,
            event.weight,
            event.kill,
        )
        if self.said.setdefault((event.hook, event.epoch), words) != words:
            self._say(event, "epochs", f"epoch {event.epoch} is published with two contents")
        if event.epoch < max(self.first[event.hook]):
            self._say(event, "epochs", f"epoch {event.epoch} is published after a later one")
        plan = self.plans.get(event.rollout)
        if plan is None:
            self._say(
                event, "unsigned", f"epoch {event.epoch} is of {event.rollout}, never approved"
            )
            return
        if event.candidate and event.candidate != plan.candidate:
            self._say(event, "unsigned", f"candidate {event.candidate} is not the plan's")
        if event.candidate and event.phase != "shadow" and event.weight not in plan.weights:
            self._say(event, "weight", f"{event.weight} is not one of {plan.weights}")
        if event.candidate and event.time_ns > plan.not_after_ns + self.deadline_ns:
            self._say(
                event, "expired", f"a trial is published after the plan of {plan.rollout} ended"
            )
        if event.phase == "canary" and event.weight > _FULL_WEIGHT:
            self._say(event, "weight", f"{event.weight} in a canary")

    def _installed(self, event: Installed) -> None:
        held = self.held[event.process, event.hook]
        manifest = self.published.get((event.hook, event.content))
        if manifest is None or manifest.epoch != event.epoch:
            self._say(event, "unsigned", f"installed epoch {event.epoch}, never published so")
            return
        if event.epoch < held.acked:
            self._say(event, "superseded", f"installed epoch {event.epoch} after {held.acked}")
        held.kept = manifest
        if event.resumed:
            held.manifest, held.until_ns, held.issued_ns = manifest, 0, 0
            return
        plan = self.plans[manifest.rollout]
        fresh = event.time_ns <= manifest.issued_ns + plan.lease_ns + self.deadline_ns
        if fresh and manifest.issued_ns > held.issued_ns:
            held.until_ns = event.time_ns + plan.lease_ns
            held.issued_ns = manifest.issued_ns
        held.manifest = manifest

    def _acked(self, event: Acked) -> None:
        held = self.held[event.process, event.hook]
        held.acked = max(held.acked, event.epoch)
        manifest = held.manifest
        if manifest is not None and manifest.kill and manifest.epoch == event.epoch:
            held.killed = max(held.killed, event.epoch)

    def _decided(self, event: Decided) -> None:
        held = self.held[event.process, event.hook]
        manifest = held.manifest
        if event.digest == INCUMBENT:
            return
        if event.epoch <= held.killed:
            self._say(event, "killed", f"{event.digest} decided after the kill of {held.killed}")
        if event.epoch < held.acked:
            self._say(event, "superseded", f"epoch {event.epoch} decided after {held.acked}")
        if manifest is None or manifest.epoch != event.epoch:
            self._say(event, "unsigned", f"decided under epoch {event.epoch}, not in force")
        elif event.digest not in (manifest.stable, manifest.candidate):
            self._say(event, "unsigned", f"{event.digest} decided, unnamed by epoch {event.epoch}")
        elif event.digest == manifest.candidate:
            self._tried(event, manifest, held)

    def _tried(self, event: Decided, manifest: Published, held: _Held) -> None:
        """Look at a decision of a candidate, which needs a lease, a plan and traffic."""
        plan = self.plans[manifest.rollout]
        if event.time_ns > held.until_ns:
            self._say(
                event, "expired", f"candidate decided {event.time_ns - held.until_ns} ns late"
            )
        if event.time_ns > plan.not_after_ns + plan.lease_ns + self.deadline_ns:
            self._say(event, "expired", f"candidate decided after the plan of {plan.rollout} ended")
        if manifest.phase == "shadow" or not manifest.weight:
            self._say(event, "weight", f"candidate decided in phase {manifest.phase}")
        epochs = self.first[event.hook]
        newer = min((t for e, t in epochs.items() if e > event.epoch), default=None)
        if newer is not None and event.time_ns > newer + 2 * plan.lease_ns + self.deadline_ns:
            self._say(event, "superseded", f"epoch {event.epoch} still decided long after its end")
        killed = self.killed.get(manifest.rollout)
        if killed is not None and event.time_ns > killed + 2 * plan.lease_ns + self.deadline_ns:
            self._say(event, "killed", f"{manifest.rollout} still decided long after its kill")

    def _restarted(self, event: Restarted) -> None:
        for (process, _), held in self.held.items():
            if process == event.process:
                held.manifest, held.until_ns, held.issued_ns = None, 0, 0
                if not event.kept:
                    held.acked = held.killed = 0
                    held.kept = None

    def forget(self, event: Trusted) -> None:
        """Forget the epochs that a key which is revoked now made a process see; nothing it signed comes back."""
        for (process, _), held in self.held.items():
            if process == event.process and held.kept and held.kept.by in event.revoked:
                held.acked = held.killed = 0


def _orders(history: Iterable[Event]) -> list[str]:
    """Say which orders were lost, repeated, or carried out though refused."""
    orders: dict[str, Ordered] = {}
    forgotten: set[str] = set()
    answers: dict[str, list[bool]] = defaultdict(list)
    sent: Counter[str] = Counter()
    done: Counter[str] = Counter()
    for event in history:
        match event:
            case Ordered():
                orders.setdefault(event.request, event)
                sent[event.request] += 1
            case Answered():
                answers[event.request].append(event.ok)
            case Restored():
                forgotten.update(orders)
            case Settled():
                done.update(cause for _, _, cause in event.moves)
            case _:
                pass
    problems = []
    for request, order in orders.items():
        count, said = done[request], answers[request]
        if order.action == "recalibrated":  # it moves nothing
            continue
        what = f"{order.action} {request} of {order.rollout}"
        if count > 1:
            problems.append(f"orders: {what} was carried out {count} times")
        if True in said and not count and request not in forgotten:
            problems.append(f"orders: {what} was acknowledged and lost")
        # One that was sent again and not answered may have been carried out then.
        if said and not any(said) and len(said) == sent[request] and count:
            problems.append(f"orders: {what} was refused and carried out")
    return problems


def _ledger(history: Sequence[Event]) -> list[str]:
    """Say where the chain is broken, and which transitions it lacks, repeats or disorders."""
    entries = [event for event in history if isinstance(event, Entry)]
    problems, previous, last = [], "00" * 32, 0
    for index, entry in enumerate(entries, 1):
        if (entry.seq, entry.previous) != (index, previous):
            problems.append(f"ledger: entry {entry.seq} does not follow entry {index - 1}")
        if entry.event and entry.event <= last:
            problems.append(f"ledger: event {entry.event} stands after event {last}")
        previous, last = entry.hash, max(last, entry.event)
    told: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for entry in entries:
        if entry.kind in ("rollout.transition", "rollout.override"):
            told[entry.subject].append((entry.before, entry.after, entry.cause))
    settled = {event.rollout: event.moves for event in history if isinstance(event, Settled)}
    for rollout, moves in settled.items():
        if tuple(told[rollout]) != moves:
            problems.append(f"ledger: {rollout} has {len(moves)} transitions, not those told")
    for event in _since_restored(history):
        if isinstance(event, Moved) and event.rollout in settled:
            seen = (event.before, event.after, event.cause)
            if settled[event.rollout][event.number : event.number + 1] != (seen,):
                problems.append(f"ledger: {event.rollout} forgot transition {event.number}: {seen}")
    return problems


def _since_restored(history: Sequence[Event]) -> Sequence[Event]:
    """Return what no copy put back has made forgotten."""
    at = [index for index, event in enumerate(history) if isinstance(event, Restored)]
    return history[at[-1] :] if at else history

"""What a hook of program form records: decisions, outcomes and events, joined off the request path."""

from __future__ import annotations

import logging
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .._log import say
from ..arms import KILLED, Segment
from ..expand import MOST_VALUES, span_of
from ..invariant import refused_by, warned
from ..live_shadow import LiveShadow
from ..outcomes import Pending
from ..records import INCUMBENT, Decision, Outcome, Record, Workload
from ..ring import Ring, Tally

if TYPE_CHECKING:
    from ..config import Settings
    from ..invariant import Invariant
    from ..kind import Kind
    from .guard import ProgramGuard
    from .questions import Question

_TALLIES = (
    "passed", "skipped", "failed", "raised", "features", "fault", "timeout", "violation", "withdrawn",
    "collective", "followed", "reports_dropped", "events_dropped", "breaker_trips",
)  # fmt: skip
_OUTCOMES = (
    "outcomes", "missing_outcomes", "repeated_outcomes", "late_outcomes", "unknown_outcomes",
)  # fmt: skip
_SHADOW = (
    "shadow_decisions", "shadow_diverged", "shadow_faults", "shadow_violations", "shadow_warnings",
    "shadow_shed",
)  # fmt: skip
_PENDING_PER_RING = 4
#: Calls in a row that a group may let pass in silence, each as long as its two steps may take.
MOST_SILENCES = 3
#: Questions that may wait to be looked at with their answers; each can hold a hundred thousand numbers.
_MOST_BESIDE = 64


class Noted(NamedTuple):
    """One decision as the request path leaves it."""

    held: Segment
    seq: int
    time_ns: int
    features: tuple[float, ...]
    detail: str
    spent_ns: int


class _Report(NamedTuple):
    seq: int
    time_ns: int
    ok: bool
    status: str
    values: Mapping[str, Any]


class _Event(NamedTuple):
    number: int
    time_ns: int
    name: str
    values: tuple[tuple[str, Any], ...]


class Numbers(NamedTuple):
    """Of a process's decisions and events; they go on when it is configured anew, so that none is had twice."""

    decisions: Tally
    events: Tally


class Recording:
    """The records of one hook in one process.

    Args:
        name: of the hook.
        kind: of program form.
        settings: in force.
        invariants: of the hook.
        numbers: of the hook.
        killed: whether no candidate may be computed beside.

    Attributes:
        numbers: of decisions.
        tallies: counters that the request path bumps.
        silences: calls in a row in which the group was not heard.
        broken: how often each invariant did not hold, by name.
    """

    def __init__(
        self,
        name: str,
        kind: Kind,
        settings: Settings,
        invariants: Sequence[Invariant],
        numbers: Numbers,
        killed: bool = False,
    ) -> None:
        self.numbers = numbers.decisions
        self._before = int(numbers.decisions)
        self._event_numbers = numbers.events
        self.tallies = {each: Tally() for each in _TALLIES}
        self.silences = 0
        self._name = name
        self._kind = kind
        self._clock = settings.clock
        self._ring = Ring(settings.ring_size)
        self._complaints = 0
        self._draining = threading.Lock()
        self._beside = threading.Semaphore(_MOST_BESIDE)
        self._counts: Counter[str] = Counter()
        self.broken: Counter[str] = Counter()
        self._fields = {e.name: sorted(e.fields) for e in kind.workload if e.source == "event"}
        objective = kind.objective
        deadline_ns = int(kind.outcome_deadline_s * 1e9)
        room = _PENDING_PER_RING * settings.ring_size
        self._pending = Pending(deadline_ns, (objective.name, objective.clip), room)
        draw = settings.generator(f"{name} shadow").random
        # A program's time is that of another process, so the wall clock says what it cost.
        self._shadow = LiveShadow(self._clock.monotonic_ns, self._clock.monotonic_ns, draw)
        self._shadow.stopped = killed
        self.hold_to(invariants)

    def hold_to(self, invariants: Sequence[Invariant]) -> None:
        """Set the invariants of the hook; those that only warn are tested here, with no other effect."""
        self._warns = tuple(i for i in invariants if i.asked_of("decision", "warn"))
        self._shadow.warns = self._warns

    def kill(self, killed: bool) -> None:
        """Compute no candidate beside any more, or again."""
        self._shadow.stopped = killed

    def note(self, noted: Noted, question: Question, picked: Any) -> bool:
        """Keep a decision; question and answer too, where they are to be looked at later.

        Returns:
            whether there was room.
        """
        if not (noted.held.record or noted.detail):
            self.tallies["skipped"].bump()
            return False
        wanted = bool(self._warns) or noted.held.shadow is not None
        looked = wanted and self._beside.acquire(blocking=False)
        beside = (question, picked) if looked else None
        context = sys.modules.get("opentelemetry.context")
        # A module that another thread is just importing lacks what it will have.
        current = getattr(context, "get_current", None)
        kept = current() if current is not None else None
        if self._ring.offer((noted, beside, kept)):
            return True
        self._ring.drop()
        if looked:
            self._beside.release()
        return False

    def report(self, seq: int, ok: bool, status: str, values: Mapping[str, Any]) -> None:
        """Leave an outcome, or a part of one, for the drainer to join."""
        if not self._ring.offer(_Report(seq, self._clock.time_ns(), ok, status, values)):
            self.tallies["reports_dropped"].bump()

    def event(self, name: str, values: tuple[tuple[str, Any], ...], kept: bool = True) -> None:
        """Leave a workload event for the drainer; one that is not kept leaves a gap in the numbers.

        Whoever reads the trace sees there that something happened which was not recorded.
        """
        number = self._event_numbers.bump()
        if kept and not self._ring.offer(_Event(number, self._clock.time_ns(), name, values)):
            self.tallies["events_dropped"].bump()

    def complain(self, error: BaseException) -> None:
        """Log the first failure; the counters tell of the others."""
        self._complaints += 1
        if self._complaints == 1:
            text = "hook %r: a call was answered but not recorded: %s"
            say(logging.ERROR, text, self._name, error)

    def heard(self, group: bool) -> None:
        """Note whether the group was heard in a call; silences are counted until it is."""
        self.silences = 0 if group else self.silences + 1
        if self.silences == MOST_SILENCES:
            text = (
                "hook %r: its group was silent in %d calls in a row; it is not waited for any more, until "
                "the hook is configured anew"
            )
            say(logging.ERROR, text, self._name, self.silences)

    def fell_back(self, why: str) -> None:
        """Count a call in which the group did not agree; the first is logged."""
        if self.tallies["collective"].bump() == 0:
            say(logging.WARNING, "hook %r: the group fell back together: %s", self._name, why)

    def drain(self, awaits: bool) -> list[Record]:
        """Return what was recorded since the last time, missing outcomes included.

        Args:
            awaits: whether decisions are expected to have an outcome.
        """
        with self._draining:
            records: list[Record] = []
            for taken in self._ring.take():
                if isinstance(taken, _Report):
                    made: Record | None = self._outcome(taken)
                elif isinstance(taken, _Event):
                    made = self._event(taken)
                else:
                    made = self._decision(*taken)
                if made is None:
                    continue
                records.append(made)
                if awaits and isinstance(made, Decision):
                    self._pending.open(made, records)
            records.extend(self._pending.sweep(self._clock.time_ns()))
            return records

    def counters(self) -> dict[str, int]:
        """Return every counter by name."""
        tally = {name: int(value) for name, value in self.tallies.items()}
        unused = ("features", "fault", "timeout", "violation", "withdrawn", "collective")
        return {
            "decisions": int(self.numbers) - self._before + tally["passed"] + tally["followed"],
            "recorded": self._counts["recorded"],
            "dropped": int(self._ring.dropped),
            "skipped": tally["skipped"] + tally["passed"],
            "failed": tally["failed"],
            "raised": tally["raised"],
            "followed": tally["followed"],
            "fallbacks": sum(tally[name] for name in unused),
            "unasked": tally["features"],
            "faults": tally["fault"] + tally["timeout"],
            "timeouts": tally["timeout"],
            "violations": tally["violation"],
            "withdrawn": tally["withdrawn"],
            "collective": tally["collective"],
            "breaker_trips": tally["breaker_trips"],
            "stale": self._counts["stale"],
            "killed": self._counts["killed"],
            "warnings": self._counts["warnings"],
            "bad_reports": self._counts["bad_reports"],
            "reports_dropped": tally["reports_dropped"],
            "bad_events": self._counts["bad_events"],
            "events_dropped": tally["events_dropped"],
            **{name: self._pending.counts[name] for name in _OUTCOMES},
            **{name: self._shadow.counts[name] for name in _SHADOW},
        }

    def _decision(
        self, noted: Noted, beside: tuple[Question, Any] | None, context: Any
    ) -> Decision:
        held, detail = noted.held, noted.detail
        trace_id, span_id = span_of(context)
        self._counts["recorded"] += 1
        self._counts["stale"] += held.stale
        self.broken.update(refused_by(detail))
        self._counts["killed"] += detail == KILLED
        if beside is not None:
            self._beside.release()
            self._examine(held, *beside)
        elif held.shadow is not None:
            self._shadow.counts["shadow_shed"] += 1
        return Decision(
            seq=noted.seq,
            time_ns=noted.time_ns,
            duration_ns=noted.spent_ns,
            unit="",
            arm=held.arm,
            reason="fallback" if detail else held.reason,
            detail=detail,
            policy=INCUMBENT if detail not in ("", "breaker") else held.policy,
            epoch=held.epoch,
            block=held.block,
            action=0,
            n_items=1,
            # Nobody picks among items here, so what the host adds of them says nothing.
            features=(*noted.features, 1.0, 0.0),
            propensity=1.0,
            inclusion=_inclusion(held, detail),
            trace_id=trace_id,
            span_id=span_id,
        )

    def _examine(self, held: Segment, question: Question, picked: Any) -> None:
        """Test what only warns, and ask the candidate of a live shadow, within its budget."""
        if self._warns:
            names = self._warned(question, picked)
            self._counts["warnings"] += len(names)
            self.broken.update(names)
        if held.shadow is None:
            return
        guard: Any = held.shadow
        asked: Any = _Beside(guard, self._kind)
        self._shadow.consider(asked, held.shadow_rate, [question], picked)  # type: ignore[list-item]

    def _warned(self, question: Question, picked: Any) -> tuple[str, ...]:
        from .questions import copied, outputs_of

        try:
            answer = self._kind.answer_type(**outputs_of(self._kind, picked))
        except Exception:  # noqa: BLE001 - what the service's function returned may be anything
            return ()
        return warned(self._warns, copied(question.asked), answer)

    def _outcome(self, told: _Report) -> Outcome | None:
        try:
            if len(told.values) > MOST_VALUES:
                raise ValueError("too many values")
            values = tuple((str(name), float(value)) for name, value in told.values.items())
        except (TypeError, ValueError, OverflowError):
            self._counts["bad_reports"] += 1
            return None
        return self._pending.close((told.seq, told.time_ns, told.ok, told.status, values))

    def _event(self, told: _Event) -> Workload | None:
        try:
            values = tuple((n, v if isinstance(v, str) else float(v)) for n, v in told.values)
        except (TypeError, ValueError, OverflowError):
            values = ()
        if sorted(name for name, _ in values) != self._fields.get(told.name):
            self._counts["bad_events"] += 1
            return None
        return Workload(told.number, told.time_ns, told.name, values)


class _Beside:
    """A candidate as a live shadow asks it: its answer is compared with what was picked."""

    #: One question at a time, within the kind's own limits.
    most = 1

    def __init__(self, guard: ProgramGuard, kind: Kind) -> None:
        self._guard = guard
        self._kind = kind
        self._detail = ""

    def choice(self, rows: Sequence[Question]) -> Any:
        """Return the answer in the form in which the incumbent's are compared; None for a failure."""
        outputs, self._detail = self._guard.answer(rows[0])
        return None if outputs is None else _Compared(self._kind, outputs)

    def warnings(
        self, warns: Sequence[Invariant], rows: Sequence[Question], index: _Compared
    ) -> int:
        """Return how many invariants of severity ``warn`` the answer does not meet."""
        from .questions import answer_of, copied

        return len(warned(warns, copied(rows[0].asked), answer_of(self._kind, index.outputs)))

    def objection(self, rows: Sequence[Question], index: Any) -> str:
        """Return why the answer could not be used; a late one is a fault."""
        return "fault" if self._detail == "timeout" else self._detail


class _Compared:
    """Outputs that differ from what a function returned unless they are the same numbers."""

    def __init__(self, kind: Kind, outputs: dict[str, Any]) -> None:
        self._kind = kind
        self.outputs = outputs

    def __eq__(self, picked: object) -> bool:
        from .questions import outputs_of

        try:
            return bool(outputs_of(self._kind, picked) == self.outputs)
        except Exception:  # noqa: BLE001 - what the service's function returned may be anything
            return False

    __hash__ = None  # type: ignore[assignment]


def _inclusion(held: Segment, detail: str) -> str:
    if held.record:
        return held.inclusion
    return "violation" if detail.startswith("violation:") else "fallback"

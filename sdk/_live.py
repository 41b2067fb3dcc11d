"""What a hook keeps while it is on: everything that the generated wrapper touches, and its drain."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from ._log import say
from ._reader import Readers, extender
from .arms import UNBORN, Arms, Moment, Sampling, Segment, Surroundings, segment
from .config import Clock, Settings
from .expand import ASKED, HAPPENED, REPORT, Expander, Happened, Layout, Shape
from .explore import explored
from .guard import Guarded, Host, Row, Seen, Verdict, preparer
from .invariant import Invariant
from .kind import Kind
from .live_shadow import LiveShadow
from .members import NOBODY, Members, join
from .outcomes import Pending
from .records import Record
from .ring import FieldRing, Tally
from .spec import Spec

_TALLIES = (
    "passed", "skipped", "failed", "raised", "slow", "features", "fault", "violation", "reports_dropped",
    "events_dropped", "breaker_trips", "missed_windows",
)  # fmt: skip
_OUTCOMES = (
    "outcomes", "missing_outcomes", "repeated_outcomes", "late_outcomes", "unknown_outcomes",
)  # fmt: skip
_SHADOW = (
    "shadow_decisions", "shadow_diverged", "shadow_faults", "shadow_violations", "shadow_warnings",
    "shadow_shed",
)  # fmt: skip
PENDING_PER_RING = 4
#: A drainer that comes at least so often, in seconds, looks ahead for the request path.
_OFTEN_S = 0.75
#: Two clocks read further apart than this are read again, so often at most.
_APART_NS, _READINGS = 2_000, 5
#: The names of the items are recorded again after so long.
ANNOUNCE_NS = 30_000_000_000


class Live:
    """The moving parts of one hook in one process.

    Attributes:
        segment: who decides now; None while the hook is off.
        members: the items of the last call.
        arms: what was installed.
        tallies: counters that the request path bumps.
        lock: held for every change of ``segment``, ``members`` and ``arms``; never on the path.
        invariants: of the kind and of the hook.
        delayed: whether an outcome was ever promised or reported beside a plain call.
        killed: why the incumbent decides alone, whatever is installed; empty while it does not.
        identify: number of a decision to its id; set by the hook.
        divides: whether a canary's arms go by the unit.
    """

    def __init__(self, name: str, kind: Kind, spec: Spec) -> None:
        self.name = name
        self.kind = kind
        self.spec = spec
        self.segment: Segment | None = None
        self.arms = Arms()
        self.space: dict[str, Any] = {}
        self._asked: dict[Guarded, float] = {}
        self.numbers = Tally()
        self._events = 0
        self.delayed = False
        self.killed = ""
        self._changes = 0
        self.identify: Callable[[int], bytes] = _nameless
        self.invariants: tuple[Invariant, ...] = kind.invariants
        self._prepare = preparer(kind)
        self.divides = kind.arms == "sticky" and spec.unit is not None
        self._layout = Layout(spec.unit is not None, self.divides)
        self._readers = Readers(spec.item_features, len(kind.features))
        self._extend = extender(kind.features, self._readers.flat)
        self._arrived: Callable[[], None] = _nothing
        self.begin(Settings())

    # --- switching on and off -----------------------------------------------------------------

    def begin(self, settings: Settings) -> None:
        """Start with empty counters, ring and members, as a new process does."""
        self.settings = settings
        self.clock = settings.clock
        self._now, self._unit_ns = _hand(settings.clock)
        self.lock = threading.RLock()
        self._room = settings.ring_size * self._layout.alone
        self._turn_to({})
        self.members = NOBODY
        self.ring = FieldRing()
        self.tallies = {name: Tally() for name in _TALLIES}
        self._before = int(self.numbers)  # they go on: no decision has the number of an earlier one
        self._complaints = 0
        self._recording = False
        self._gaps = 0
        self._window_ns = int(settings.window_s * 1e9)
        self._missed = -1
        self._far = False
        self._often = settings.flush_interval_s < _OFTEN_S and self._unit_ns > 1.0
        self._draining = threading.Lock()
        self._fresh_generators()
        self.host = Host(
            self._prepare,
            self._draw,
            self.clock.monotonic_ns,
            self.spec.limits or settings.limits,
            self._slow,
            self.renew,
        )
        self._lost = 0
        self.expander = self._expander()
        self.expander.events = self._events  # they go on, too
        self.hold_to(self.invariants)
        self._bind()

    def hold_to(self, invariants: tuple[Invariant, ...]) -> None:
        """Set the invariants of the hook."""
        self.invariants = invariants
        # Checked off the request path and with no other effect than a count.
        self.expander.warns = tuple(i for i in invariants if i.asked_of("decision", "warn"))
        self.expander.shadow.warns = self.expander.warns

    def _fresh_generators(self) -> None:
        generator = self.settings.generator
        self._draw = generator(f"{self.name} noise").random
        self._random = generator(f"{self.name} explore")

    def _expander(self) -> Expander:
        generator = self.settings.generator
        deadline_ns = int(self.kind.outcome_deadline_s * 1e9)
        objective = self.kind.objective
        room = PENDING_PER_RING * self.settings.ring_size
        pending = Pending(deadline_ns, (objective.name, objective.clip), room)
        shadow = LiveShadow(
            self.clock.cpu_ns, self.clock.monotonic_ns, generator(f"{self.name} shadow").random
        )
        draw = generator(f"{self.name} recorded noise").random
        shadow.stopped = bool(self.killed)
        expander = Expander(self.kind, draw, pending, shadow, Shape(self._layout, self._extend))
        expander.complain = self._complain
        return expander

    def _bind(self) -> None:
        """Put what the wrapper's text names into its globals."""
        self.space.update(
            g_hook=self,
            g_now=self._now,
            g_next=self.numbers.bump,
            g_features=self.spec.item_features,
            g_unit=self.spec.unit,
            g_redact=self.spec.redact,
            g_advance=self.advance,
            g_rejoin=self.rejoin,
            g_position=self.position,
            g_explore=self.explore,
            g_derive=self.derive,
            g_failed=self.failed,
            g_raised=self.tallies["raised"].bump,
            g_passed=self.tallies["passed"].bump,
            g_skipped=self.tallies["skipped"].bump,
            g_items=self.ring.items,
            g_room=self._room,
            g_asked_room=self.settings.ring_size * self._layout.asked,
            g_asked=ASKED,
            g_context=_nothing,
            g_push=self.ring.push,
            g_drop=self.ring.drop,
        )

    def on(self, settings: Settings, arrived: Callable[[], None]) -> None:
        """Begin to decide and record; ``arrived`` is called when a first call came."""
        self.begin(settings)  # without the lock: in a forked child another thread may hold it
        self._arrived = arrived
        self.segment = UNBORN

    def off(self) -> None:
        """Call the incumbent and nothing else from now on; what waits can still be drained."""
        with self.lock:
            self.segment = None

    def take(self, arms: Arms) -> None:
        """Decide by other arms from the next call on."""
        with self.lock:
            self.arms = arms
            self.renew()

    def kill(self, why: str) -> None:
        """Have the incumbent decide alone from the next call on; an empty text ends that."""
        with self.lock:
            self.killed = why
            self.expander.shadow.stopped = bool(why)
            self.renew()

    def renew(self) -> None:
        """Look up afresh, at the next call, who decides."""
        with self.lock:
            self._changes += 1
            if self.segment is not None:
                self.segment = UNBORN

    # --- called by the wrapper; none of these raises ------------------------------------------

    def advance(self, ahead: bool = False) -> Segment:
        """Return who decides now, and keep it for the calls to come.

        Args:
            ahead: whether the drainer asks, which will ask again in time.
        """
        if self.segment is UNBORN:
            self._arrived()  # without the lock: it takes the runtime's, which goes before this one
        with self.lock:
            changes = self._changes
            now = self._moment()
            surroundings = Surroundings(
                self.spec.explore,
                _context_reader(),
                self.unasked,
                self.members.size,
                ahead,
                bool(self.killed),
            )
            held = segment(self.arms, now, self._sampling(), surroundings)
            held = self._whole(held, now)
            self._turn_to(held.asked())
            if held.record and not self._recording:
                self._gaps += 1
            self._recording = held.record
            if held.tracks and not (self.segment is not None and self.segment.tracks):
                self._remember()
            held = held.after(self._gaps)
            self.space["g_context"] = held.context or _nothing
            if self.segment is not None:
                self.segment = held
                if changes != self._changes:  # by a signal's handler, on this very thread
                    self.segment = UNBORN
            return held

    def _whole(self, held: Segment, now: Moment) -> Segment:
        """Return the segment, or one that is skipped where the drainer missed the beginning of its window.

        Calls went by unseen before, and what is recorded is whole windows.
        """
        window = now.unix_ns // self._window_ns
        whole = held.block < 0 and held.reason != "split"
        if self._far and held.record and whole and self._missed != window:
            self._missed = window
            self.tallies["missed_windows"].bump()
        self._far = held.far
        if self._missed != window or not held.record or not whole:
            return held
        return replace(
            held, record=False, inclusion="fallback", skip=held.answer is None, plain=False
        )

    def _turn_to(self, asked: dict[Guarded, float]) -> None:
        """Count decisions for the breakers of the programs that answer them, each its share."""
        number = int(self.numbers)
        for program in self._asked.keys() - asked.keys():
            program.breaker.pause(number)
        for program, share in asked.items():
            program.breaker.share = share
            if program not in self._asked:
                program.breaker.resume(number)
        self._asked = asked

    def _slow(self) -> None:
        """Count a slow answer; those that follow are measured, one and all."""
        self.tallies["slow"].bump()
        self.renew()

    def _moment(self) -> Moment:
        """Return both clocks, read so close together that one can be told from the other."""
        clock = self.clock
        monotonic_ns, unix_ns = clock.monotonic_ns(), clock.time_ns()
        for _ in range(_READINGS):
            if clock.monotonic_ns() - monotonic_ns < _APART_NS:
                break
            monotonic_ns, unix_ns = clock.monotonic_ns(), clock.time_ns()
        return Moment(unix_ns, monotonic_ns, self._unit_ns)

    def _remember(self) -> None:
        """Take over from the drainer when the items were last picked, as far as it has come."""
        members, picked = self.members, self.expander.picked()
        for i, name in enumerate(members.names):
            members.last[i] = max(members.last[i], picked.get(name, -1))

    def _sampling(self) -> Sampling:
        s = self.settings
        return Sampling(s.sample, self._window_ns, self.name, s.cell)

    def rejoin(self, items: Sequence[Any], seq: int) -> Members:
        """Return the members after a change of items; raises what the service's accessors raise."""
        # Without the lock: an accessor may wait for a lock of the service's.
        before = self.members
        members = join(before, items, self.spec.item_name, seq)
        if members.names != before.names:
            self._check_width(items)
        members.read = self._readers.ready(members.size)
        self.members = members
        return members

    def _check_width(self, items: Sequence[Any]) -> None:
        row = self.spec.item_features(items[0]) if len(items) else ()
        if len(items) and (not isinstance(row, tuple) or len(row) != len(self.kind.features)):
            wanted = ", ".join(feature.name for feature in self.kind.features)
            raise TypeError(f"item_features must return a tuple of ({wanted}), not {row!r}")

    def position(self, members: Members, picked: Any) -> int:
        """Return where the incumbent's pick lies among the items; -1, counted, when it is none."""
        found = members.position(picked)
        if found < 0:
            self.tallies["failed"].bump()
            self._complain(TypeError(f"it returned {type(picked).__name__}, none of the items"))
        return found

    def ask(self, guarded: Guarded, items: Any, members: Members, seq: int) -> Verdict:
        """Return a program's answer, found in steps; raises what the service's accessors raise."""
        rows, since = self._read(items, members, seq)
        index, detail, full, spent = guarded.ask(rows, since, seq)
        if detail:
            self.tallies[detail.partition(":")[0]].bump()
        return index, detail, _seen(full, rows, since), spent

    def unasked(self, items: Any, members: Members, seq: int) -> Verdict:
        """Return no answer, and what was seen, where the incumbent decides and some picks are drawn."""
        rows, since = self._read(items, members, seq)
        detail = self.segment.detail if self.segment is not None else ""
        return -1, detail, _seen(self._prepared(rows, since), rows, since), -1

    def _read(self, items: Any, members: Members, seq: int) -> tuple[list[Any], list[int]]:
        return [*map(self.spec.item_features, items)], [seq - last for last in members.last]

    def _prepared(self, rows: list[Any], since: list[int]) -> list[Row] | None:
        try:
            return self._prepare(rows, since, self._draw)
        except Exception:  # noqa: BLE001 - features are the service's own objects
            return None

    def explore(self, held: Segment, seen: Seen, base: int) -> tuple[int, float, bool]:
        """Return (action, its propensity, whether it was drawn); the base action when rows are bad."""
        if isinstance(seen, list) or base < 0:
            return base, 1.0, False
        return explored(self.kind, self.invariants, list(seen), base, held.explore, self._random)

    def derive(self, seq: int, picked: Any) -> None:
        """Report the outcome that ``outcome=`` takes from the result of a plain call."""
        try:
            assert self.spec.outcome is not None
            values = dict(self.spec.outcome(picked))
            ok = bool(values.pop("ok", True))
            self.report(seq, ok, "reported", values)
        except Exception as error:  # noqa: BLE001 - the service's own function may raise anything
            self._complain(error)

    def failed(self, error: Exception) -> None:
        """Count a call that could not be read."""
        self.tallies["failed"].bump()
        self._complain(error)

    def _complain(self, error: BaseException) -> None:
        """Log the first failure; the counters tell of the others."""
        self._complaints += 1
        if self._complaints == 1:
            text = "hook %r: a call was answered but not recorded: %s"
            say(logging.ERROR, text, self.name, error)

    # --- outcomes and the drain ---------------------------------------------------------------

    def report(self, seq: int, ok: bool, status: str, values: Mapping[str, Any]) -> None:
        """Leave an outcome, or a part of one, for the drainer to join."""
        ring = self.ring
        if len(ring.items) < self._room:
            ring.push((REPORT, seq, self.clock.time_ns(), ok, status, values))
        else:
            self.tallies["reports_dropped"].bump()

    def event(self, name: str, values: tuple[tuple[str, Any], ...]) -> None:
        """Leave a workload event for the drainer; outside a sampled window none is kept."""
        held = self.segment
        if held is not None and self._now() >= held.until:
            held = self.advance()
        if held is None or not held.record:
            return
        told = Happened(HAPPENED, self.clock.time_ns(), name, values)
        if not self.ring.offer(told, self._room):
            self.tallies["events_dropped"].bump()

    def drain(self) -> list[Record]:
        """Return what was recorded since the last time, missing outcomes included."""
        with self._draining:
            self._write_out()
            self._review()
            records: list[Record] = []
            lost = int(self.tallies["events_dropped"])
            self.expander.events += lost - self._lost  # so that readers see that some are missing
            self._lost = lost
            self.expander.expand(self.ring.take(), self.awaits, records)
            now_ns = self.clock.time_ns()
            if self.members.names != self.expander.announced or (records and self._unsaid(now_ns)):
                records.append(self.expander.members(now_ns, self.members.names))
            records.extend(self.expander.pending.sweep(now_ns))
            self._events = self.expander.events
            return records

    def _review(self) -> None:
        """Look up who decides, and set the request path's clock by the wall clock, before a call has to."""
        if self.segment is not None and self.segment is not UNBORN:
            self.advance(ahead=self._often)

    def _write_out(self) -> None:
        """Make what is fastest for the items of now; away from the request path, as it may take long."""
        members = self.members
        if members is NOBODY:
            return
        members.read = self._readers.written(members.size)
        for program in (self.arms.stable, self.arms.candidate):
            if program is not None and program.answers is not None:
                program.answers.of(members.size)

    def _unsaid(self, now_ns: int) -> bool:
        """Return whether a store that began meanwhile would not know the names of the items."""
        silent = now_ns - self.expander.announced_ns >= ANNOUNCE_NS
        return silent and bool(self.members.names)

    @property
    def awaits(self) -> bool:
        """Whether a decision of this hook can be expected to have an outcome."""
        return self.delayed or self.spec.outcome is not None

    def counters(self) -> dict[str, int]:
        """Return every counter by name."""
        tally = {name: int(value) for name, value in self.tallies.items()}
        expanded = self.expander.counts
        return {
            "decisions": int(self.numbers) - self._before + tally["passed"],
            "recorded": self.expander.recorded,
            "dropped": int(self.ring.dropped),
            "skipped": tally["skipped"] + tally["passed"],
            "failed": tally["failed"] + expanded["unreadable"],
            "raised": tally["raised"],
            "fallbacks": tally["features"] + tally["fault"] + tally["violation"],
            "unasked": tally["features"],
            "faults": tally["fault"],
            "violations": tally["violation"],
            "slow": tally["slow"],
            "breaker_trips": tally["breaker_trips"],
            "missed_windows": tally["missed_windows"],
            "stale": expanded["stale"],
            "killed": expanded["killed"],
            "warnings": expanded["warnings"],
            "bad_reports": expanded["bad_reports"],
            "reports_dropped": tally["reports_dropped"],
            "bad_events": expanded["bad_events"],
            "events_dropped": tally["events_dropped"],
            **{name: self.expander.pending.counts[name] for name in _OUTCOMES},
            **{name: self.expander.shadow.counts[name] for name in _SHADOW},
        }


def _seen(full: list[Row] | None, rows: list[Any], since: list[int]) -> Seen:
    return [rows, since] if full is None else tuple(full)


def _hand(clock: Clock) -> tuple[Callable[[], float], float]:
    """Return the request path's clock and the length of its unit in ns; the system's is cheapest in seconds."""
    if clock.monotonic_ns is time.monotonic_ns:
        return time.monotonic, 1e9
    return clock.monotonic_ns, 1.0


def _nameless(seq: int) -> bytes:
    """Return no id."""
    return b""


def _nothing() -> None:
    """Tell nobody."""


def _context_reader() -> Callable[[], Any] | None:
    """Return how to read the caller's OpenTelemetry context; None while nobody has loaded it."""
    loaded = sys.modules.get("opentelemetry.context")
    # A context variable's own method, where it is one, costs a sixth of the function around it.
    runtime = getattr(loaded, "_RUNTIME_CONTEXT", None)
    variable = getattr(runtime, "_current_context", None)
    if type(variable) is ContextVar:
        return variable.get
    return getattr(loaded, "get_current", None)

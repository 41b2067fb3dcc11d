"""Turning what the request path left in the ring into records."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from .arms import KILLED, Segment
from .invariant import Invariant, refused_by, warned
from .kind import HOST_FEATURES
from .members import NOBODY, Members
from .outcomes import Pending, RawReport
from .records import Decision, Outcome, Record, Workload
from .ring import Mark

if TYPE_CHECKING:
    from ._reader import Floats
    from .guard import Seen
    from .kind import Kind
    from .live_shadow import LiveShadow


#: Characters of a unit or of an item's name that are kept, and values of an outcome.
LONGEST, MOST_VALUES = 512, 64
#: What the fields that follow in the ring are; a decision of the incumbent begins with its segment.
ASKED, REPORT, HAPPENED = Mark("asked"), Mark("report"), Mark("happened")


class Alone(NamedTuple):
    """The fields of a decision in the ring that the incumbent made alone.

    After them come the unit, where the hook has one, its hash, where arms may be sticky, and the caller's
    context, where the segment is not plain.
    ``moment`` is on the request path's clock and ``seen`` what the hook's reader gave.
    """

    segment: Segment
    seq: int
    moment: float
    members: Members
    picked: Any
    seen: tuple[Any, ...]


class Asked(NamedTuple):
    """The fields of a decision in the ring in which a program or a draw had a say; unit and its hash may follow."""

    mark: Mark
    segment: Segment
    seq: int
    moment: float
    members: Members
    action: int
    seen: Seen
    detail: str
    spent_ns: int
    propensity: float
    explored: bool
    context: Any


class Happened(NamedTuple):
    """The fields of a workload event in the ring; two more, so that it takes as much room as a decision."""

    mark: Mark
    time_ns: int
    event: str
    values: tuple[tuple[str, Any], ...]
    fifth: None = None
    sixth: None = None


_new = tuple.__new__
ALONE, _ASKED = len(Alone._fields), len(Asked._fields)
_SIZES = {REPORT: len(RawReport._fields), HAPPENED: len(Happened._fields)}


class Layout:
    """What the fields of a hook's decisions in the ring depend on.

    Args:
        unit: whether the hook has a unit.
        sliced: whether the unit's hash follows it, of which its slice is made; -1 where it has none.

    Attributes:
        unit, sliced: the same.
        alone: fields of a decision that the incumbent made alone, in a plain segment.
        asked: fields of any other decision.
    """

    __slots__ = ("alone", "asked", "sliced", "unit")

    def __init__(self, unit: bool, sliced: bool = False) -> None:
        self.unit, self.sliced = unit, sliced
        self.alone = ALONE + unit + sliced
        self.asked = _ASKED + unit + sliced

    def size(self, mark: Any) -> int:
        """Return how many fields a record has that begins with a mark."""
        if type(mark) is Segment:
            return self.alone + (not mark.plain)
        return self.asked if mark is ASKED else _SIZES[mark]


class Shape(NamedTuple):
    """How a hook's decisions lie in the ring, and how their features are completed.

    Attributes:
        layout: of the fields.
        extend: from :func:`~gnomon.sdk._reader.extender`.
    """

    layout: Layout
    extend: Callable[..., tuple[Floats, bool]]


class Expander:
    """Makes records; used by one thread at a time.

    Attributes:
        recorded: decisions so far.
        events: number of the next event; those that nobody recorded leave a gap.
        counts: ``unreadable``, ``stale`` and ``killed`` decisions, ``bad_reports`` (values that are
            no numbers, or more than :data:`MOST_VALUES`), ``bad_events`` (not as the kind declares them), and ``warnings`` (invariants of severity ``warn`` that did not hold).
        announced, announced_ns: names of the items as last recorded, and when.
        complain: is told of a decision that cannot be read; set by the hook.
        warns: invariants of severity ``warn``.
        broken: how often each invariant did not hold, by name.
    """

    def __init__(
        self,
        kind: Kind,
        draw: Callable[[], float],
        pending: Pending,
        shadow: LiveShadow,
        shape: Shape,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.pending = pending
        self.shadow = shadow
        self.recorded = 0
        self._kind = kind
        self._layout, self._extend = shape
        self._width = len(kind.inputs)
        self._item = partial(_new, kind.item_type)
        self._draw = draw
        self.complain: Callable[[BaseException], object] = _silent
        self.events = 0
        self._fields = {e.name: sorted(e.fields) for e in kind.workload if e.source == "event"}
        self._members = NOBODY
        self._last: list[int] = []
        self._names_and_last: tuple[tuple[str, ...], list[int]] = ((), self._last)
        self._gap = 0
        self.announced: tuple[str, ...] = ()
        self.announced_ns = 0
        self.warns: tuple[Invariant, ...] = ()
        self.broken: Counter[str] = Counter()

    def expand(self, fields: list[Any], awaits: bool, into: list[Record]) -> None:
        """Append the records that fields from the ring come to.

        Args:
            fields: see :class:`Alone`, :class:`Asked`, :class:`Happened` and
                :class:`~gnomon.sdk.outcomes.RawReport`.
            awaits: whether decisions are expected to have an outcome; those given up for want of room
                are appended too.
            into: grows.
        """
        at, end, size = 0, len(fields), self._layout.size
        while at < end:
            mark = fields[at]
            stop = at + size(mark)
            raw = fields[at:stop]
            at = stop
            if mark is REPORT or mark is HAPPENED:
                made = self.outcome(raw) if mark is REPORT else self.event(raw)
                if made is not None:
                    into.append(made)
                continue
            decision = self._decision(raw, mark is ASKED, into)
            if decision is not None:
                into.append(decision)
                if awaits:
                    self.pending.open(decision, into)

    def _decision(self, raw: list[Any], asked: bool, into: list[Record]) -> Decision | None:
        """Return the record of one decision; the names of its items go before it, where they are new."""
        segment, seq, moment, members = raw[asked : asked + 4]
        if members is not self._members or segment.gap > self._gap:
            if members.names != self.announced:
                into.append(self.members(segment.unix_ns(moment), members.names))
            self._change(members, max(segment.gap, self._gap), seq)
        try:
            decision, inside = self._asked(raw) if asked else self._alone(raw)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - the service's own objects, on a thread of ours
            self.counts["unreadable"] += 1
            self.complain(error)
            return None
        self.recorded += 1
        if segment.stale:
            self.counts["stale"] += 1
        if decision.detail:
            self.broken.update(refused_by(decision.detail))
        if segment.detail == KILLED:
            self.counts["killed"] += 1
        if inside and (self.warns or segment.shadow is not None):
            self._examine(segment, decision)
        return decision

    def outcome(self, report: list[Any]) -> Outcome | None:
        """Return the outcome that the fields of a report make, if it is readable, whole and the first."""
        _, seq, time_ns, ok, status, told = report
        try:
            if len(told) > MOST_VALUES:
                raise ValueError("too many values")
            values = tuple((str(name), float(value)) for name, value in told.items())
        except (TypeError, ValueError, OverflowError):
            self.counts["bad_reports"] += 1
            return None
        return self.pending.close((seq, time_ns, ok, status, values))

    def event(self, fields: list[Any]) -> Workload | None:
        """Return the record of an event, if the kind declares it with exactly these fields."""
        told = Happened._make(fields)
        if sorted(name for name, _ in told.values) != self._fields.get(told.event):
            self.counts["bad_events"] += 1
            return None
        try:
            values = tuple((n, v if isinstance(v, str) else float(v)) for n, v in told.values)
        except (TypeError, ValueError, OverflowError):
            self.counts["bad_events"] += 1
            return None
        self.events += 1
        return Workload(self.events - 1, told.time_ns, told.event, values)

    def members(self, time_ns: int, names: tuple[str, ...]) -> Workload:
        """Return the record of who the items are from now on."""
        self.announced, self.announced_ns = names, time_ns
        values = (("names", "\n".join(map(bounded, names))),)
        self.events += 1
        return Workload(self.events - 1, time_ns, "members", values)

    def _change(self, members: Members, gap: int, seq: int) -> None:
        """Go on with other items, or after decisions that nobody saw.

        After a gap nobody knows who was picked, so that every item counts as picked just before.
        """
        known = self.picked() if gap == self._gap else {}
        self._members, self._gap = members, gap
        self._last = [known.get(name, seq - 1) for name in members.names]
        self._names_and_last = (members.names, self._last)  # both at once, for other threads

    def picked(self) -> dict[str, int]:
        """Return the number of the decision that last picked an item, by its name."""
        return dict(zip(*self._names_and_last, strict=True))

    def _alone(self, raw: list[Any]) -> tuple[Decision, bool]:
        """Return a decision that the incumbent made alone, and whether its features lie in their ranges."""
        segment, seq, moment, members, picked, seen = raw[:ALONE]
        action = members.index.get(id(picked), -1)
        if action < 0 and (action := members.position(picked)) < 0:
            raise TypeError(f"it returned {type(picked).__name__}, none of the items")
        features, inside = self._extend(seen, self._last, seq, self._draw)
        self._last[action] = max(self._last[action], seq)  # calls may end in another order
        unit = bounded(raw[ALONE]) if self._layout.unit else ""
        block = _slice(segment, raw[ALONE + 1]) if self._layout.sliced else segment.block
        trace_id, span_id = (0, 0) if segment.plain else span_of(raw[-1])
        # Made as tuples are: by name and through the class it takes three times as long.
        fields = (
            seq, segment.unix_ns(moment), -1, unit, segment.arm,
            segment.reason, segment.detail, segment.policy, segment.epoch, block, action,
            members.size, features, 1.0, segment.inclusion, trace_id, span_id,
        )  # fmt: skip
        return _new(Decision, fields), inside

    def _asked(self, raw: list[Any]) -> tuple[Decision, bool]:
        """Return a decision in which a program or a draw had a say, and whether it is as :meth:`_alone` says."""
        asked = Asked._make(raw[:_ASKED])
        segment, members, detail = asked.segment, asked.members, asked.detail
        features = self._all(asked)
        if len(features) != members.size * self._width:
            raise ValueError("features and items differ in number")
        self._last[asked.action] = max(self._last[asked.action], asked.seq)
        trace_id, span_id = span_of(asked.context)
        decision = Decision(
            seq=asked.seq,
            time_ns=segment.unix_ns(asked.moment),
            duration_ns=asked.spent_ns,
            unit=bounded(raw[_ASKED]) if self._layout.unit else "",
            arm=segment.arm,
            reason=_reason(asked),
            detail=detail,
            policy="incumbent" if detail not in ("", "breaker") else segment.policy,
            epoch=segment.epoch,
            block=_slice(segment, raw[_ASKED + 1]) if self._layout.sliced else segment.block,
            action=asked.action,
            n_items=members.size,
            features=features,
            propensity=asked.propensity,
            inclusion=_inclusion(asked),
            trace_id=trace_id,
            span_id=span_id,
        )
        return decision, isinstance(asked.seen, tuple)

    def _all(self, asked: Asked) -> tuple[float, ...]:
        """Return all features of all items; those that lie outside their ranges as they are.

        Where picks were not tracked on the request path, when each was last picked is known here.
        """
        seen, tracked = asked.seen, asked.segment.tracks
        if isinstance(seen, list):
            return (
                self._unchecked(*seen) if tracked else self._unchecked(seen[0], self._since(asked))
            )
        if tracked and (not seen or len(seen[0]) == self._width):
            return tuple(chain.from_iterable(seen))
        own, draw = self._width - len(HOST_FEATURES), self._draw
        flat: list[float] = []
        for row, picks in zip(seen, self._since(asked), strict=True):
            flat += row[:own]
            flat += float(max(picks, 1)), row[-1] if len(row) > own else draw()
        return tuple(flat)

    def _since(self, asked: Asked) -> list[int]:
        return [asked.seq - last for last in self._last]

    def _unchecked(self, rows: Sequence[Any], since: Sequence[int]) -> tuple[float, ...]:
        """Return features that lie outside of their ranges."""
        flat: list[float] = []
        for row, picks in zip(rows, since, strict=True):
            flat += [*map(float, row), float(max(picks, 1)), self._draw()]
        return tuple(flat)

    def _examine(self, segment: Segment, decision: Decision) -> None:
        """Test what only warns, and ask the candidate of a live shadow."""
        features, width = decision.features, self._width
        rows = [features[i : i + width] for i in range(0, len(features), width)]
        if self.warns:
            items = [*map(self._item, rows)]
            names = warned(self.warns, items, items[decision.action])
            self.counts["warnings"] += len(names)
            self.broken.update(names)
        if segment.shadow is not None:
            self.shadow.consider(segment.shadow, segment.shadow_rate, rows, decision.action)


def _slice(segment: Segment, hashed: int) -> int:
    """Return the slice of a unit by its hash; -1 where it was not hashed."""
    return hashed * segment.slices >> 32 if hashed >= 0 else -1


def bounded(given: Any) -> str:
    """Return a text as it is, or its digest where it is too long to be kept: equal texts stay equal."""
    text = given if type(given) is str else str(given)
    if len(text) <= LONGEST:
        return text
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _silent(error: BaseException) -> None:
    """Tell nobody."""


def _reason(asked: Asked) -> str:
    if asked.detail:
        return "fallback"
    return "explore" if asked.explored else asked.segment.reason


def _inclusion(asked: Asked) -> str:
    if asked.segment.record:
        return asked.segment.inclusion
    return "violation" if asked.detail.startswith("violation:") else "fallback"


def span_of(context: Any) -> tuple[int, int]:
    """Return trace id and span id of an OpenTelemetry context; zeros without one."""
    if not context:
        return 0, 0
    from opentelemetry.trace import get_current_span  # loaded already, or there were no context

    span = get_current_span(context).get_span_context()
    return span.trace_id, span.span_id

"""Turning what the request path left in the ring into records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from .invariant import Invariant, violated
from .records import Decision, Outcome, Record, Workload

if TYPE_CHECKING:
    from .arms import Segment
    from .guard import Prepare, Row
    from .kind import Kind
    from .live_shadow import LiveShadow
    from .outcomes import Pending, Report


class Raw(NamedTuple):
    """One decision as it lies in the ring; the request path builds it as a plain tuple."""

    segment: Segment
    seq: int
    time_ns: int
    spent_ns: int
    unit: Any
    detail: str
    action: int
    rows: Sequence[Any]
    since: Sequence[int] | None
    propensity: float
    explored: bool
    context: Any


class Renamed(NamedTuple):
    """A change of items, as it lies in the ring."""

    time_ns: int
    names: tuple[str, ...]


class Happened(NamedTuple):
    """A workload event that the service told of, as it lies in the ring."""

    time_ns: int
    event: str
    values: tuple[tuple[str, Any], ...]


class Expander:
    """Makes records; used by one thread at a time.

    Attributes:
        counts: ``recorded``, ``unreadable`` and ``stale`` decisions, ``bad_reports`` (values that are
            no numbers), ``bad_events`` (not as the kind declares them), and ``warnings`` (invariants of severity ``warn`` that did not hold).
        announced, announced_ns: names of the items as last recorded, and when.
        warns: invariants of severity ``warn``.
    """

    def __init__(
        self,
        kind: Kind,
        prepare: Prepare,
        draw: Callable[[], float],
        pending: Pending,
        shadow: LiveShadow,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.pending = pending
        self.shadow = shadow
        self._kind = kind
        self._prepare = prepare
        self._draw = draw
        self._events = 0
        self._fields = {e.name: sorted(e.fields) for e in kind.workload if e.source == "event"}
        self.announced: tuple[str, ...] = ()
        self.announced_ns = 0
        self.warns: tuple[Invariant, ...] = ()

    def decision(self, raw: Raw, awaits: bool) -> Iterator[Record]:
        """Yield the record of one decision, and outcomes given up for want of room."""
        try:
            decision, rows = self._decision(raw)
        except Exception:  # noqa: BLE001 - features and unit are the service's own objects
            self.counts["unreadable"] += 1
            return
        self.counts["recorded"] += 1
        self.counts["stale"] += raw.segment.stale
        if self.warns and rows is not None:
            self._warn(rows, decision.action)
        if raw.segment.shadow is not None and rows is not None:
            self.shadow.consider(raw.segment.shadow, raw.segment.shadow_rate, rows, decision.action)
        yield decision
        if awaits:
            yield from self.pending.open(decision)

    def outcome(self, report: Report) -> Outcome | None:
        """Return the outcome that a report makes, if it is readable and the first."""
        try:
            values = tuple((str(name), float(value)) for name, value in report.values)
        except (TypeError, ValueError):
            self.counts["bad_reports"] += 1
            return None
        return self.pending.close(report._replace(values=values))

    def event(self, told: Happened) -> Workload | None:
        """Return the record of an event, if the kind declares it with exactly these fields."""
        if sorted(name for name, _ in told.values) != self._fields.get(told.event):
            self.counts["bad_events"] += 1
            return None
        try:
            values = tuple((n, v if isinstance(v, str) else float(v)) for n, v in told.values)
        except (TypeError, ValueError):
            self.counts["bad_events"] += 1
            return None
        self._events += 1
        return Workload(self._events - 1, told.time_ns, told.event, values)

    def members(self, time_ns: int, names: tuple[str, ...]) -> Workload:
        """Return the record of who the items are from now on."""
        self.announced, self.announced_ns = names, time_ns
        values = (("names", "\n".join(names)),)
        self._events += 1
        return Workload(self._events - 1, time_ns, "members", values)

    def _warn(self, rows: list[Row], action: int) -> None:
        items = [*map(self._kind.item_type._make, rows)]
        self.counts["warnings"] += sum(
            violated((warn,), items, action) is not None for warn in self.warns
        )

    def _decision(self, raw: Raw) -> tuple[Decision, list[Row] | None]:
        rows = self._rows(raw)
        features = tuple(chain.from_iterable(rows)) if rows else self._as_seen(raw)
        if len(features) != len(raw.rows) * len(self._kind.inputs):
            raise ValueError("features and items differ in number")
        trace_id, span_id = span_of(raw.context)
        segment = raw.segment
        decision = Decision(
            seq=raw.seq,
            time_ns=raw.time_ns,
            duration_ns=raw.spent_ns,
            unit=raw.unit if type(raw.unit) is str else str(raw.unit),
            arm=segment.arm,
            reason=_reason(raw),
            detail=raw.detail,
            policy="incumbent" if raw.detail not in ("", "breaker") else segment.policy,
            epoch=segment.epoch,
            block=segment.block,
            action=raw.action,
            n_items=len(raw.rows),
            features=features,
            propensity=raw.propensity,
            inclusion=_inclusion(raw),
            trace_id=trace_id,
            span_id=span_id,
        )
        return decision, rows

    def _rows(self, raw: Raw) -> list[Row] | None:
        if raw.since is None:
            return list(raw.rows)
        try:
            return self._prepare(raw.rows, raw.since, self._draw)
        except (TypeError, ValueError):
            return None

    def _as_seen(self, raw: Raw) -> tuple[float, ...]:
        """Return features that lie outside their ranges, as they are."""
        flat: list[float] = []
        for row, since in zip(raw.rows, raw.since or (), strict=True):
            flat += [*map(float, row), float(max(since, 1)), self._draw()]
        return tuple(flat)


def _reason(raw: Raw) -> str:
    if raw.detail:
        return "fallback"
    return "explore" if raw.explored else raw.segment.reason


def _inclusion(raw: Raw) -> str:
    if raw.segment.record:
        return raw.segment.inclusion
    return "violation" if raw.detail.startswith("violation:") else "fallback"


def span_of(context: Any) -> tuple[int, int]:
    """Return trace id and span id of an OpenTelemetry context; zeros without one."""
    if not context:
        return 0, 0
    from opentelemetry.trace import get_current_span  # loaded already, or there were no context

    span = get_current_span(context).get_span_context()
    return span.trace_id, span.span_id

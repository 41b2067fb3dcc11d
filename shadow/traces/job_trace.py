"""The trace of a queue: jobs in order of arrival, whatever order any policy would have run them in."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from ...sdk.errors import TraceError
from .trace import FloatArray, IndexArray, Trace

if TYPE_CHECKING:
    from ...recorder.store import TraceStore

#: Blocks that a trace is cut into for resampling: longer than most busy periods.
BLOCKS = 50
#: Of a prompt or an answer: a replay would make them one step at a time, without an end.
MOST_TOKENS = 2**24


class QueueTrace(Trace):
    """Work in order of arrival, each process with a queue of its own.

    A window begins as the system was then, under the policy that was recorded: what was being done is
    ``held`` and goes on, what waited counts with what arrives in the window, and decisions are made from
    ``since`` on. So whoever a policy makes wait longer counts, however early it came. Where nothing was
    recorded a window begins with nothing to do.
    """

    #: Columns that hold numbers above 0.
    POSITIVE: ClassVar[tuple[str, ...]]

    instances: tuple[str, ...]
    since: float
    arrival: FloatArray
    instance: IndexArray
    held: npt.NDArray[np.bool_]
    latency_ms: FloatArray
    ok: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        """Refuse columns that do not fit together; derive what counts."""
        self._check()
        object.__setattr__(self, "time", self.arrival[~self.held])
        object.__setattr__(self, "outcome", self.latency_ms[~self.held])

    def _check(self) -> None:
        n = len(self.arrival)
        for name in self.COLUMNS:
            if getattr(self, name).shape != (n,):
                raise TraceError(
                    f"column {name!r} of trace {self.hook!r} is not {n} long; load again"
                )
        if not np.isfinite(self.arrival).all() or (n and (np.diff(self.arrival) < 0).any()):
            raise TraceError(f"trace {self.hook!r} is not in order of time; sort it first")
        if n and not ((self.instance >= 0) & (self.instance < len(self.instances))).all():
            raise TraceError(f"trace {self.hook!r} has jobs of unknown processes; load again")
        for name in self.POSITIVE:
            values = getattr(self, name)
            bad = ~((values > 0.0) & np.isfinite(values))
            if bad.any():
                raise TraceError(
                    f"{name} of a job of trace {self.hook!r} is {values[bad][0]:g}; give every job a size "
                    "and a weight above 0"
                )

    @property
    def recorded(self) -> bool:
        """Whether everything that counts has a recorded latency."""
        return not np.isnan(self.outcome).any()

    @property
    def block_s(self) -> float:
        """Seconds of a stretch that resampling keeps together: a fiftieth of the whole."""
        return max(self.span_s / BLOCKS, 1e-9)

    @property
    def counted(self) -> npt.NDArray[np.int64]:
        """Indices of what counts, i8[len]."""
        return np.flatnonzero(~self.held)

    @cached_property
    def by_process(self) -> npt.NDArray[np.int64]:
        """Indices of what counts, by process, and by arrival within one, i8[len]."""
        counted = self.counted
        return counted[np.argsort(self.instance[counted], kind="stable")]

    @cached_property
    def single(self) -> bool:
        """Whether everything counts and is of one process: then it is in order of process, too."""
        return len(self.instances) == 1 and not bool(self.held.any())

    def ordered(self, column: FloatArray) -> FloatArray:
        """Return of a column what counts, by process; the column itself where that is all of it."""
        if not self.single:
            return column[self.by_process]
        return column if column.flags.carray else column.copy()

    @cached_property
    def by_arrival(self) -> npt.NDArray[np.int64]:
        """Places in :attr:`by_process` of what counts, by arrival, i8[len]."""
        return np.argsort(self.by_process, kind="stable")

    def rows(self, rows: slice) -> Self:
        """Return what counts in this part, with what waited or was being done when it begins."""
        low, high, _ = rows.indices(len(self))
        counted, n = self.counted, len(self.arrival)
        first = int(counted[low]) if low < len(counted) else n
        end = int(counted[high - 1]) + 1 if high > low else first
        kept, held, since = np.arange(n) < end, self.held, self.since
        if low > 0:
            since = float(self.arrival[first]) if first < n else self.since
            before = np.arange(n) < first
            held = before & (self.held | (self.taken < since)) & (self.gone > since)
            waits = before & ~self.held & (self.taken >= since)
            kept &= ~before | held | waits
        columns: dict[str, Any] = {name: getattr(self, name)[kept] for name in self.COLUMNS}
        columns["held"] = held[kept]
        cut: Any = replace(self, since=since, **columns)  # type: ignore[type-var]
        return cut  # type: ignore[no-any-return]

    @property
    @abstractmethod
    def taken(self) -> FloatArray:
        """When everything left the queue as recorded, seconds; NaN where that is unknown, f8[n]."""

    @property
    @abstractmethod
    def gone(self) -> FloatArray:
        """When everything was done as recorded, seconds; NaN where that is unknown, f8[n]."""


@dataclass(frozen=True)
class JobTrace(QueueTrace):
    """Jobs of one hook of the kind ``scheduler``; n jobs, p processes with a queue and workers each.

    Attributes:
        hook: name of the hook.
        kind: name of its kind.
        start_ns: Unix time that ``arrival`` counts from.
        instances: ids of the processes, by index.
        since: when decisions begin, seconds since ``start_ns``; -inf for the whole of a recording.
        unserved: jobs that were left out because they still waited when the recording ended.
        arrival: when it was queued, seconds since ``start_ns``, f8[n], ascending.
        instance: whose queue, i4[n].
        held: whether it was run already when decisions begin; it does not count, bool[n].
        size_ms: work as the policy knew it, ms, f8[n].
        priority: weight, f8[n].
        due: when its deadline is, seconds since ``start_ns``, +inf without one, f8[n].
        begun: when it was dispatched as recorded, NaN where that is unknown, f8[n].
        service: for how long it ran, seconds, NaN where that is unknown, f8[n].
        latency_ms: as recorded, clipped, NaN where that is unknown, f8[n].
        ok: as recorded; true where nothing was, bool[n].
        workers: of each process, as an import says them; empty where nothing does, and they are fitted.
        time: arrivals of the jobs that count, f8[len].
        outcome: their latencies, f8[len].
        members: none, they come and go.
    """

    TYPE = "jobs"
    COLUMNS = (
        "arrival", "instance", "held", "size_ms", "priority", "due", "begun", "service", "latency_ms", "ok",
    )  # fmt: skip
    HEAD = ("hook", "kind", "start_ns", "instances", "since", "unserved", "workers")
    LATER = MappingProxyType({"workers": ()})
    POSITIVE = ("size_ms", "priority")

    hook: str
    kind: str
    start_ns: int
    instances: tuple[str, ...]
    since: float
    unserved: int
    arrival: FloatArray
    instance: IndexArray
    held: npt.NDArray[np.bool_]
    size_ms: FloatArray
    priority: FloatArray
    due: FloatArray
    begun: FloatArray
    service: FloatArray
    latency_ms: FloatArray
    ok: npt.NDArray[np.bool_]
    workers: tuple[int, ...] = ()
    time: FloatArray = field(init=False, repr=False, compare=False)
    outcome: FloatArray = field(init=False, repr=False, compare=False)
    members: tuple[str, ...] = field(init=False, default=())

    def _check(self) -> None:
        super()._check()
        if self.workers and (len(self.workers) != len(self.instances) or min(self.workers) < 1):
            raise TraceError(
                f"trace {self.hook!r} says {len(self.workers)} numbers of workers for "
                f"{len(self.instances)} processes; import it again, with 1 worker or more for each"
            )
        known = self.service[~np.isnan(self.service)]
        bad = ~((known > 0.0) & np.isfinite(known))
        if bad.any():
            raise TraceError(
                f"a service time of trace {self.hook!r} is {known[bad][0]:g} s; report latencies that are "
                "longer than the waits"
            )

    @property
    def taken(self) -> FloatArray:
        """When every job was dispatched as recorded, f8[n]."""
        return self.begun

    @property
    def gone(self) -> FloatArray:
        """When every job was complete as recorded, f8[n]; one that never was counts until its dispatch."""
        done: FloatArray = self.begun + np.nan_to_num(self.service, nan=0.0)
        return done


@dataclass(frozen=True)
class RequestTrace(QueueTrace):
    """Requests of one hook of the kind ``llm_scheduler``; n requests, p processes with an engine each.

    Attributes:
        hook, kind, start_ns, instances, since, unserved: as of :class:`JobTrace`.
        engine: tokens and requests of a step, blocks of KV memory, tokens of a block, steps that are
            composed in advance; 0 where that is unknown.
        arrival, instance, held, priority, due, latency_ms, ok: as of :class:`JobTrace`.
        prompt: tokens, i8[n].
        output: tokens of the answer, i8[n].
        expected: tokens of the answer as the policy knew them, f8[n].
        admitted, answered, done: when it was admitted, when its first and its last token came, as recorded,
            seconds since ``start_ns``, NaN where that is unknown, f8[n].
        time: arrivals of the requests that count, f8[len].
        outcome: their latencies in ms, f8[len].
        members: none, they come and go.
    """

    TYPE = "requests"
    COLUMNS = (
        "arrival", "instance", "held", "prompt", "output", "expected", "priority", "due", "admitted", "answered",
        "done", "latency_ms", "ok",
    )  # fmt: skip
    HEAD = ("hook", "kind", "start_ns", "instances", "since", "unserved", "engine")
    POSITIVE = ("prompt", "output", "expected", "priority")

    hook: str
    kind: str
    start_ns: int
    instances: tuple[str, ...]
    since: float
    unserved: int
    engine: tuple[int, ...]
    arrival: FloatArray
    instance: IndexArray
    held: npt.NDArray[np.bool_]
    prompt: npt.NDArray[np.int64]
    output: npt.NDArray[np.int64]
    expected: FloatArray
    priority: FloatArray
    due: FloatArray
    admitted: FloatArray
    answered: FloatArray
    done: FloatArray
    latency_ms: FloatArray
    ok: npt.NDArray[np.bool_]
    time: FloatArray = field(init=False, repr=False, compare=False)
    outcome: FloatArray = field(init=False, repr=False, compare=False)
    members: tuple[str, ...] = field(init=False, default=())

    def _check(self) -> None:
        super()._check()
        tokens = np.maximum(self.prompt, self.output).max(initial=0)
        if tokens > MOST_TOKENS:
            raise TraceError(
                f"a request of trace {self.hook!r} has {int(tokens)} tokens, more than {MOST_TOKENS}; "
                "no model takes as many: correct it"
            )

    @property
    def taken(self) -> FloatArray:
        """When every request was admitted as recorded, f8[n]."""
        return self.admitted

    @property
    def gone(self) -> FloatArray:
        """When every request was answered as recorded, f8[n]."""
        return self.done


def job_trace(stored: TraceStore, hook: str) -> JobTrace:
    """Read the jobs of a hook of the kind ``scheduler``.

    Recorded decisions show every job: when it arrived (the decision's time less ``wait_ms``), its size,
    weight and deadline, when it was dispatched, and what came of it. Where there are none, ``arrival``
    events are a workload; ``served`` and ``workers`` events say what is known of its outcomes. When another policy decided, nothing was decided for
    half a minute, or decisions are missing, the longest stretch without such a change is taken.

    Args:
        stored: trace store.
        hook: name of the hook.

    Raises:
        TraceError: nothing there, too little, or a trace that no replay can be faithful to.
    """
    from . import job_columns as _job_columns

    return _job_columns.trace(stored.decisions(hook), stored.workload(hook), hook)


def request_trace(stored: TraceStore, hook: str) -> RequestTrace:
    """Read the requests of a hook of the kind ``llm_scheduler``.

    As :func:`job_trace`; the metrics ``ttft_ms`` and ``answered_tokens`` of every outcome are needed too.
    Of an import, ``served`` events tell what was measured.

    Args:
        stored: trace store.
        hook: name of the hook.

    Raises:
        TraceError: nothing there, too little, or a trace that no replay can be faithful to.
    """
    from . import request_columns as _request_columns

    return _request_columns.trace(stored.decisions(hook), stored.workload(hook), hook)

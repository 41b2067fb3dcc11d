"""The trace of a cache: accesses in order, whatever any policy would have kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...sdk.errors import TraceError
from .trace import FloatArray, IndexArray, Trace

if TYPE_CHECKING:
    from ...recorder.store import TraceStore

#: What an access is. The records tell lookups that hit (1) apart; here ``hit`` does.
LOOKUP, SET, DELETE = 0, 2, 3
UNKNOWN = -1
#: Blocks that a trace is cut into: longer than what neighbouring accesses share.
BLOCKS = 50
_PART = 1 << 16
_PER_INSTANCE = ("capacity", "sampled")


@dataclass(frozen=True)
class AccessTrace(Trace):
    """Recorded accesses of one hook of the kind ``cache``; n accesses of p caches.

    Only lookups have outcomes, and of those only the ones from ``first`` on: a window keeps all that
    happened before it, so that its replay is a part of one continuous replay.

    Attributes:
        hook: name of the hook.
        kind: name of its kind.
        start_ns: Unix time that ``at`` counts from.
        instances: ids of the processes, by index; each has a cache of its own.
        policy: name of the policy that was in production; empty where outcomes are unknown.
        first: index of the first access whose outcome counts.
        at: when, seconds since ``start_ns``, f8[n], ascending.
        instance: whose cache, i4[n].
        key: dense index of the key in its cache; two caches share none; i4[n].
        size: of the object that is set, or that a missed lookup brings; NaN where it brings none; f8[n].
        op: LOOKUP, SET (an insertion or replacement of its own) or DELETE, i1[n].
        hit: 1 or 0 as recorded, -1 where that is unknown or the access is no lookup, i1[n].
        capacity: of each cache, in the unit of the sizes, f8[p].
        sampled: share of the keys that was recorded, f8[p].
        time: of the lookups that count, seconds, f8[len].
        outcome: 1 for a miss, 0 for a hit, NaN where that is unknown, f8[len].
        members: none.
    """

    TYPE = "accesses"
    COLUMNS = ("at", "instance", "key", "size", "op", "hit", *_PER_INSTANCE)
    HEAD = ("hook", "kind", "start_ns", "instances", "policy", "first")

    hook: str
    kind: str
    start_ns: int
    instances: tuple[str, ...]
    policy: str
    first: int
    at: FloatArray
    instance: IndexArray
    key: IndexArray
    size: FloatArray
    op: npt.NDArray[np.int8]
    hit: npt.NDArray[np.int8]
    capacity: FloatArray
    sampled: FloatArray
    time: FloatArray = field(init=False, repr=False, compare=False)
    outcome: FloatArray = field(init=False, repr=False, compare=False)
    members: tuple[str, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        """Refuse columns that do not fit together; derive what counts."""
        self._check()
        object.__setattr__(self, "time", self.of_counted(self.at))
        if _all(self.hit, lambda hit: hit == UNKNOWN):
            outcome: FloatArray = np.broadcast_to(np.float64(np.nan), (len(self.time),))
        else:
            hit = self.of_counted(self.hit)
            outcome = np.where(hit == UNKNOWN, np.nan, 1.0 - hit)
        object.__setattr__(self, "outcome", outcome)

    def _check(self) -> None:
        n, p = len(self.at), len(self.instances)
        for name in self.COLUMNS:
            length = p if name in _PER_INSTANCE else n
            if getattr(self, name).shape != (length,):
                raise TraceError(
                    f"column {name!r} of trace {self.hook!r} is not {length} long; load again"
                )
        if not _all(self.at, np.isfinite) or not _ascending(self.at):
            raise TraceError(f"trace {self.hook!r} is not in order of time; sort it first")
        if flaw := self._flaw(p):
            raise TraceError(
                f"trace {self.hook!r} holds accesses that are none ({flaw}); record or import it again"
            )
        capacity, sampled = self.capacity, self.sampled
        if not ((capacity > 0) & np.isfinite(capacity) & (sampled > 0) & (sampled <= 1)).all():
            raise TraceError(f"trace {self.hook!r} has a cache without a capacity; load again")

    def _flaw(self, p: int) -> str:
        """Return what is wrong with some access; empty when nothing is."""
        sound: dict[str, Callable[[Any], Any]] = {
            "key": lambda key: key >= 0,
            "instance": lambda instance: (instance >= 0) & (instance < p),
            "op": lambda op: (op == LOOKUP) | (op == SET) | (op == DELETE),
            "size": lambda size: ~((size < 0) | np.isinf(size)),
        }
        for name, holds in sound.items():
            bad = _first_bad(getattr(self, name), holds)
            if bad is not None:
                return f"{name} {bad:g}"
        owner = np.full(self.keys, -1, np.int32)
        for part in parts(len(self.key)):
            owner[self.key[part]] = self.instance[part]
        for part in parts(len(self.key)):
            if (owner[self.key[part]] != self.instance[part]).any():
                return "a key that two caches share"
        return ""

    @cached_property
    def _lookups_only(self) -> bool:
        return _all(self.op[self.first :], lambda op: op == LOOKUP)

    @property
    def counted(self) -> npt.NDArray[np.int64]:
        """Indices of the lookups that count, i8[len]."""
        return np.flatnonzero(self.op[self.first :] == LOOKUP) + self.first

    def of_counted(self, column: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return those elements of a column, as long as the accesses, that are of lookups that count.

        A view, where all accesses from the first such lookup on are.
        """
        return column[self.first :] if self._lookups_only else column[self.counted]

    @cached_property
    def weight(self) -> FloatArray:
        """Sizes of the objects that the lookups that count ask for, 0 where unknown, f8[len]."""
        size: FloatArray = self.of_counted(self.size)
        return size if _all(size, lambda each: ~np.isnan(each)) else np.nan_to_num(size, nan=0.0)

    @property
    def recorded(self) -> bool:
        """Whether every lookup that counts was recorded as a hit or a miss."""
        return _all(self.outcome, lambda outcome: ~np.isnan(outcome))

    @property
    def block_s(self) -> float:
        """Seconds of a stretch that resampling keeps together: a fiftieth of the whole."""
        return max(self.span_s / BLOCKS, 1e-9)

    @cached_property
    def keys(self) -> int:
        """A number above every key."""
        return int(self.key.max(initial=-1)) + 1

    def rows(self, rows: slice) -> AccessTrace:
        """Return these counted lookups as a trace, with all that happened before them."""
        counted = self.counted[rows]
        first, end = (int(counted[0]), int(counted[-1]) + 1) if len(counted) else (0, 0)
        columns: dict[str, Any] = {
            name: getattr(self, name)[:end] for name in self.COLUMNS if name not in _PER_INSTANCE
        }
        return replace(self, first=first, **columns)


def parts(n: int) -> Iterator[slice]:
    """Yield slices that cover n elements: what is made of one at a time takes no room to speak of."""
    for low in range(0, n, _PART):
        yield slice(low, low + _PART)


def _all(column: npt.NDArray[Any], holds: Callable[[Any], Any]) -> bool:
    return _first_bad(column, holds) is None


def _first_bad(column: npt.NDArray[Any], holds: Callable[[Any], Any]) -> Any:
    """Return the first element that does not hold; None when all do."""
    for part in parts(len(column)):
        bad = np.flatnonzero(~holds(column[part]))
        if len(bad):
            return column[part][bad[0]]
    return None


def _ascending(at: FloatArray) -> bool:
    return all(
        bool((np.diff(at[part.start : part.stop + 1]) >= 0).all()) for part in parts(len(at))
    )


def access_trace(stored: TraceStore, hook: str) -> AccessTrace:
    """Read the accesses of a hook of the kind ``cache``.

    A set that follows a missed lookup of its key before any other access of it completes that lookup
    and is no access of its own: the object comes in when it is asked for, however long it took to
    make. Of each process the longest stretch under one ``cache`` event is taken:
    such an event says that a cache began, or was set up anew.

    Its columns lie on disk, made once for a state of the store and mapped from then on: memory does not
    grow with the number of accesses, only with that of keys.

    Args:
        stored: trace store.
        hook: name of the hook.

    Raises:
        TraceError: nothing there, too little, or a trace that no replay can be faithful to.
    """
    from .access_cache import trace

    return trace(stored, hook)

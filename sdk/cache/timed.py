"""A cell whose objects also end by time."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from heapq import heapify, heappop, heappush
from typing import Any

from .cell import MISSING, Cell


class TimedCell:
    """Another cell, and a deadline for each of its objects.

    Args:
        inner: holds the objects.
        ttl: time that an object has, in the unit of the timer.
        timer: what the time is.

    Attributes:
        lapsed: objects that a lookup found to be over, until somebody asks for them: {key: value}.
        ended: called with the key of every object whose time was over; None for nobody.
    """

    __slots__ = (
        "_deadlines",
        "_entered",
        "_inner",
        "_moved",
        "_timer",
        "_ttl",
        "ended",
        "evicted",
        "lapsed",
    )

    def __init__(self, inner: Cell, ttl: Any, timer: Callable[[], Any]) -> None:
        self._inner = inner
        self._ttl = ttl
        self._timer = timer
        self._deadlines: dict[Any, Any] = {}
        #: (deadline, tie breaker, key) of what came from another cell: a heap, and out of order above.
        self._moved: list[tuple[Any, int, Any]] = []
        self._entered = 0
        self.lapsed: dict[Any, Any] = {}
        self.ended: Callable[[Hashable], object] | None = None
        inner.evicted = self._deadlines.pop
        self.evicted: Callable[[Hashable], object] | None = None

    @property
    def inner(self) -> Cell:
        """What holds the objects."""
        return self._inner

    @property
    def capacity(self) -> float:
        """Most that is held."""
        return self._inner.capacity

    @capacity.setter
    def capacity(self, capacity: float) -> None:
        self._inner.capacity = capacity

    @property
    def held(self) -> float:
        """Sum of the sizes, of what is over too until it is removed."""
        return self._inner.held

    def __len__(self) -> int:
        return len(self._inner)

    def __contains__(self, key: object) -> bool:
        return key in self._deadlines and self._timer() < self._deadlines[key]

    def __iter__(self) -> Iterator[Any]:
        now = self._timer()
        return iter([key for key, end in self._deadlines.items() if now < end])

    def lookup(self, key: Hashable) -> Any:
        """Return the value and count an access, or MISSING."""
        self._check(key)
        return self._inner.lookup(key)

    def peek(self, key: Hashable) -> Any:
        """Return the value without an access, or MISSING."""
        return self._inner.peek(key) if key in self else MISSING

    def size_of(self, key: Hashable) -> float:
        """Return the size of an object that is held."""
        return self._inner.size_of(key)

    def put(self, key: Hashable, value: Any, size: float, completes: bool = False) -> bool:
        """Take an object in for the whole of its time; return whether it is held now."""
        now = self._timer()
        self.expire(now)
        self._deadlines.pop(key, None)
        kept = self._kept(key, value, size, completes)
        if kept:
            self._deadlines[key] = now + self._ttl
        return kept

    def adopt(self, key: Hashable, value: Any, size: float, deadline: Any) -> bool:
        """Take an object in for the rest of its time."""
        kept = self._kept(key, value, size, True)
        if kept:
            self._deadlines[key] = deadline
            self._entered += 1
            heappush(self._moved, (deadline, self._entered, key))
            if len(self._moved) > 2 * len(self._deadlines) + 64:  # most of them have left since
                self._moved = [m for m in self._moved if self._deadlines.get(m[2]) == m[0]]
                heapify(self._moved)
        return kept

    def _kept(self, key: Hashable, value: Any, size: float, completes: bool) -> bool:
        self._deadlines[key] = None  # for the case that the policy removes it on the way
        kept = self._inner.put(key, value, size, completes)
        self._deadlines.pop(key, None)
        return kept

    def deadline(self, key: Hashable) -> Any:
        """Return when an object's time is over; None when it is not held."""
        return self._deadlines.get(key)

    def remove(self, key: Hashable) -> Any:
        """Remove an object and return its value, or MISSING when it was not held or its time over."""
        self._check(key)
        self.lapsed.pop(key, None)
        self._deadlines.pop(key, None)
        return self._inner.remove(key)

    def shed(self) -> tuple[Any, Any]:
        """Remove the next object to go and return key and value; KeyError when there is none."""
        key, value = self._inner.shed()
        self._deadlines.pop(key, None)
        return key, value

    def clear(self) -> None:
        """Remove everything."""
        self._inner.clear()
        self._deadlines.clear()
        self._moved.clear()
        self.lapsed.clear()

    def mend(self) -> None:
        """Drop what has no deadline, and deadlines of nothing."""
        self._inner.mend()
        for key in list(self._inner):
            if self._deadlines.get(key) is None:
                self._inner.remove(key)
        held = set(self._inner)
        self._deadlines = {k: end for k, end in self._deadlines.items() if k in held}
        self._inner.evicted = self._deadlines.pop
        moved = [(end, n, key) for n, (key, end) in enumerate(self._deadlines.items())]
        heapify(moved)
        self._moved, self._entered = moved, len(moved)

    def expire(self, now: Any = None) -> list[tuple[Any, Any]]:
        """Remove what is over and return it, with what lookups found to be over before."""
        now = self._timer() if now is None else now
        while self._moved and not now < self._moved[0][0]:
            end, _, key = heappop(self._moved)
            if self._deadlines.get(key) == end:  # it may have left, or have been put anew
                self._end(key)
        for key in list(self._over(now)):
            self._end(key)
        gone, self.lapsed = list(self.lapsed.items()), {}
        return gone

    def _over(self, now: Any) -> Iterator[Any]:
        """Yield what is over of what was put here; in order, so that the first that is not ends it."""
        for key, end in self._deadlines.items():
            if now < end:
                return
            yield key

    def _check(self, key: Hashable) -> None:
        """Let go of an object whose time is over."""
        end = self._deadlines.get(key)
        if end is not None and not self._timer() < end:
            self._end(key)

    def _end(self, key: Hashable) -> None:
        del self._deadlines[key]
        self.lapsed[key] = self._inner.remove(key)
        if self.ended is not None:
            self.ended(key)

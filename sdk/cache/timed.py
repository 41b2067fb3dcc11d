"""A cell whose objects also end by time."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
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

    __slots__ = ("_deadlines", "_inner", "_timer", "_ttl", "ended", "evicted", "lapsed")

    def __init__(self, inner: Cell, ttl: Any, timer: Callable[[], Any]) -> None:
        self._inner = inner
        self._ttl = ttl
        self._timer = timer
        self._deadlines: dict[Any, Any] = {}
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
        self.lapsed.clear()

    def expire(self, now: Any = None) -> list[tuple[Any, Any]]:
        """Remove what is over and return it, with what lookups found to be over before."""
        now = self._timer() if now is None else now
        for key, end in list(self._over(now)):
            self._end(key, end)
        gone, self.lapsed = list(self.lapsed.items()), {}
        return gone

    def _over(self, now: Any) -> Iterator[tuple[Any, Any]]:
        """Yield what is over; in the order of entry, so that the first that is not ends the search."""
        for key, end in self._deadlines.items():
            if now < end:
                return
            yield key, end

    def _check(self, key: Hashable) -> None:
        """Let go of an object whose time is over."""
        end = self._deadlines.get(key)
        if end is not None and not self._timer() < end:
            self._end(key, end)

    def _end(self, key: Hashable, end: Any) -> None:
        del self._deadlines[key]
        self.lapsed[key] = self._inner.remove(key)
        if self.ended is not None:
            self.ended(key)

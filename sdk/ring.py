"""A bounded queue from request threads to the drainer, with exact counts and no lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any


class Tally:
    """A counter that any number of threads may bump without a lock.

    Attributes:
        bump: add one and return the value before it.
    """

    __slots__ = ("_count", "bump")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Start again from 0."""
        self._count = count()
        self.bump: Callable[[], int] = self._count.__next__

    def __int__(self) -> int:
        # Reading through next() would use a value up; copying a count is deprecated.
        return int(repr(self._count)[6:-1])


class Ring:
    """What request threads append to and one drainer empties.

    The request path does ``if len(items) < room: push(record) else: drop()`` itself: a method call
    would cost as much as the append. Threads that pass the test together may overfill the ring by
    one record each.

    Attributes:
        items: the waiting records, oldest first.
        room: how many may wait.
        push: append a record.
        drop: count a decision that found no room.
        dropped: how many found none.
    """

    __slots__ = ("drop", "dropped", "items", "push", "room")

    def __init__(self, room: int) -> None:
        self.items: deque[Any] = deque()
        self.room = room
        self.push = self.items.append
        self.dropped = Tally()
        self.drop = self.dropped.bump

    def offer(self, record: Any) -> bool:
        """Append a record if there is room; return whether there was, and leave counting to the caller."""
        if len(self.items) >= self.room:
            return False
        self.push(record)
        return True

    def take(self) -> list[Any]:
        """Remove and return what waits now; what arrives meanwhile stays for the next time."""
        pop = self.items.popleft
        return [pop() for _ in range(len(self.items))]


class Mark:
    """Says what the fields that follow it in a :class:`FieldRing` are.

    Attributes:
        name: for people.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


class FieldRing:
    """A :class:`Ring` in which every record is a run of fields, the first of which says where it begins.

    An object per record would be one more for the garbage collector to walk over, again and again,
    on the service's own threads: that costs more than the record. One ``extend`` is whole or not at
    all, as no other thread runs meanwhile.

    Attributes:
        items: the waiting fields, oldest record first.
        push: append the fields of a record.
        drop: count a decision that found no room.
        dropped: how many found none.
    """

    __slots__ = ("drop", "dropped", "items", "push")

    def __init__(self) -> None:
        self.items: deque[Any] = deque()
        self.push = self.items.extend
        self.dropped = Tally()
        self.drop = self.dropped.bump

    def offer(self, fields: tuple[Any, ...], room: int) -> bool:
        """Append a record if fewer than ``room`` fields wait; return whether it was."""
        if len(self.items) >= room:
            return False
        self.push(fields)
        return True

    def take(self) -> list[Any]:
        """Remove and return what waits now; what arrives meanwhile stays for the next time."""
        items = self.items
        return [items.popleft() for _ in range(len(items))]

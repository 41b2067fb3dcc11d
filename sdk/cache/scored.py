"""A cell whose policy is a program: a sample of the residents and the newcomer, the lowest score goes."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterator
from typing import Any

from ..guard import Answer
from .cell import MISSING

#: (rows of the kind's features, newcomer last; decisions since each entered) to the guard's answer.
Ask = Callable[[list[tuple[float, ...]], list[int]], Answer]


class ScoredCell:
    """The object with the lowest score of a sample leaves; where that is the newcomer, it stays out.

    Ages and gaps are counted in accesses of this cell. Where the program gives no answer that may be
    used, the least recently used of the sample leaves.

    Args:
        capacity: most that is held.
        sample: residents that a decision looks at, drawn with replacement.
        generator: of the draws; the program's noise comes from it too.

    Attributes:
        ask: of the program behind its guard; set before the first object comes.
        spent_ns: time that the program took so far.
        decisions: how often it was asked.
    """

    __slots__ = (
        "_age", "_at", "_clock", "_frequency", "_gap", "_index", "_keys", "_last", "_sample",
        "_size", "_values", "ask", "capacity", "decisions", "evicted", "generator", "held", "spent_ns",
    )  # fmt: skip

    def __init__(self, capacity: float, sample: int, generator: random.Random) -> None:
        self.capacity = capacity
        self.generator = generator
        self.held: float = 0
        self.evicted: Callable[[Hashable], object] | None = None
        self.ask: Ask
        self.spent_ns = 0
        self.decisions = 0
        self._sample = sample
        self._clock = 0
        self._empty()

    def _empty(self) -> None:
        """Have no slots; slot i of every list belongs to one object, and the last one fills a gap."""
        self._index: dict[Any, int] = {}
        self._keys: list[Any] = []
        self._values: list[Any] = []
        self._size: list[float] = []
        self._last: list[int] = []
        self._age: list[int] = []
        self._gap: list[int] = []
        self._frequency: list[int] = []
        self._at: list[int] = []

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._index

    def __iter__(self) -> Iterator[Any]:
        return iter(self._keys)

    def lookup(self, key: Hashable) -> Any:
        """Return the value and count an access, or MISSING."""
        self._clock += 1
        slot = self._index.get(key)
        if slot is None:
            return MISSING
        self._touch(slot)
        return self._values[slot]

    def peek(self, key: Hashable) -> Any:
        """Return the value without an access, or MISSING."""
        slot = self._index.get(key)
        return MISSING if slot is None else self._values[slot]

    def size_of(self, key: Hashable) -> float:
        """Return the size of an object that is held."""
        return self._size[self._index[key]]

    def put(self, key: Hashable, value: Any, size: float, completes: bool = False) -> bool:
        """Take an object in, or give it another value, and return whether it is held now.

        A resident that no longer fits leaves and asks to come in as any newcomer.
        """
        if not completes:
            self._clock += 1
        slot = self._index.get(key)
        if slot is not None:
            if self.held - self._size[slot] + size <= self.capacity:
                self._replace(slot, value, size)
                return True
            self._leave(slot)
        if size > self.capacity or not self._room(size):
            return False
        self._enter(key, value, size)
        return True

    def remove(self, key: Hashable) -> Any:
        """Remove an object and return its value, or MISSING."""
        slot = self._index.get(key)
        return MISSING if slot is None else self._leave(slot)

    def shed(self) -> tuple[Any, Any]:
        """Remove the least recently used of a sample, asking nobody; KeyError when there is none."""
        if not self._keys:
            raise KeyError("nothing is held")
        slot = min(self._slots(), key=self._last.__getitem__)
        key = self._keys[slot]
        return key, self._leave(slot)

    def clear(self) -> None:
        """Remove everything."""
        self._empty()
        self.held = 0

    def mend(self) -> None:
        """Add up again; drop everything where slots no longer belong together."""
        whole = self._index == {key: slot for slot, key in enumerate(self._keys)}
        if not whole or len({len(column) for column in self._columns()}) > 1:
            self._empty()
        self.held = sum(self._size)

    def _columns(self) -> tuple[list[Any], ...]:
        return (
            self._keys, self._values, self._size, self._last, self._age, self._gap,
            self._frequency, self._at,
        )  # fmt: skip

    def _touch(self, slot: int) -> None:
        self._gap[slot] = self._clock - self._last[slot]
        self._last[slot] = self._clock
        self._frequency[slot] += 1

    def _replace(self, slot: int, value: Any, size: float) -> None:
        self._touch(slot)
        self.held += size - self._size[slot]
        self._size[slot] = size
        self._values[slot] = value

    def _room(self, size: float) -> bool:
        """Make room for a newcomer; return whether it was not the newcomer that had to go."""
        while self.held + size > self.capacity and self._keys:
            slot = self._decide(size)
            if slot < 0:
                return False
            key = self._keys[slot]
            self._leave(slot)
            if self.evicted is not None:
                self.evicted(key)
        return True

    def _slots(self) -> list[int]:
        draw, n = self.generator.random, len(self._keys)
        return [int(draw() * n) for _ in range(self._sample)]

    def _decide(self, size: float) -> int:
        """Return the slot of the object to go; -1 for the newcomer."""
        slots = self._slots()
        index, _, _, spent = self.ask(*self._question(slots, size))
        self.decisions += 1
        self.spent_ns += spent
        if index < 0:
            return min(slots, key=self._last.__getitem__)
        return slots[index] if index < len(slots) else -1

    def _question(self, slots: list[int], size: float) -> tuple[list[tuple[float, ...]], list[int]]:
        clock, last, age, gap = self._clock, self._last, self._age, self._gap
        frequency, sizes, at, now = self._frequency, self._size, self._at, self.decisions
        rows: list[tuple[float, ...]] = [
            (clock - last[i], frequency[i], clock - age[i], gap[i], sizes[i], 1.0) for i in slots
        ]
        rows.append((0, 1, 0, 0, size, 0.0))
        return rows, [*(now - at[i] for i in slots), 1]

    def _enter(self, key: Hashable, value: Any, size: float) -> None:
        self._index[key] = len(self._keys)
        self._keys.append(key)
        self._values.append(value)
        self._size.append(size)
        self._last.append(self._clock)
        self._age.append(self._clock)
        self._gap.append(0)
        self._frequency.append(1)
        self._at.append(self.decisions)
        self.held += size

    def _leave(self, slot: int) -> Any:
        value = self._values[slot]
        del self._index[self._keys[slot]]
        self.held = self.held - self._size[slot] if len(self._keys) > 1 else 0
        for column in self._columns():
            moved: Any = column.pop()
            if slot < len(column):
                column[slot] = moved
        if slot < len(self._keys):
            self._index[self._keys[slot]] = slot
        return value

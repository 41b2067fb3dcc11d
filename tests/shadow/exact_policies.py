"""Textbook cache policies in plain Python, to hold the compiled ones against."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable

from gnomon.shadow.traces.access_trace import DELETE, LOOKUP, SET

#: (op, key, size) of every access, in order.
Accesses = list[tuple[int, int, float]]


class Textbook:
    """A cache that keeps an order of its own; subclasses say which.

    Attributes:
        sizes: of what is held, in an order that the policy gives a meaning.
    """

    def __init__(self, capacity: float) -> None:
        self.capacity = capacity
        self.sizes: OrderedDict[int, float] = OrderedDict()
        self.now = 0

    def asked(self, key: int) -> None:
        """Note that somebody asks for or stores an object; ``now`` says when."""

    def forget(self, key: int) -> None:
        """Lose all memory of an object that is not held."""

    def used(self) -> float:
        return sum(self.sizes.values())

    def fits(self) -> float:
        """Return how many objects fit, by the mean size of what is held, at least 1."""
        used = self.used()
        return max(1.0, self.capacity * len(self.sizes) / used if used else self.capacity)

    def hit(self, key: int, put: bool) -> None:
        """Note an access of what is held; ``put`` when it is stored again."""

    def victim(self) -> int:
        """Return who goes next."""
        return next(iter(self.sizes))

    def drop(self, key: int) -> None:
        """Take an object out."""
        del self.sizes[key]

    def admit(self, key: int, size: float) -> None:
        """Put a newcomer in, for which there is room."""
        self.sizes[key] = size

    def put(self, key: int, size: float) -> None:
        """Store an object; replacements that do not fit begin anew."""
        others = self.used() - self.sizes.get(key, 0.0)
        if key in self.sizes and others + size <= self.capacity:
            self.sizes[key] = size
            self.hit(key, put=True)
            return
        if key in self.sizes:
            self.drop(key)
        if size <= self.capacity:
            while self.used() + size > self.capacity:
                self.drop(self.victim())
            self.admit(key, size)


class Lru(Textbook):
    """The least recently used goes."""

    def hit(self, key: int, put: bool) -> None:
        self.sizes.move_to_end(key)


class Fifo(Textbook):
    """The one that was put first goes."""

    def hit(self, key: int, put: bool) -> None:
        if put:
            self.sizes.move_to_end(key)


class Clock(Textbook):
    """As FIFO, with a second chance for what was used."""

    def __init__(self, capacity: float) -> None:
        super().__init__(capacity)
        self.marked: set[int] = set()

    def hit(self, key: int, put: bool) -> None:
        self.marked.add(key)

    def victim(self) -> int:
        while (key := next(iter(self.sizes))) in self.marked:
            self.marked.discard(key)
            self.sizes.move_to_end(key)
        return key

    def drop(self, key: int) -> None:
        super().drop(key)
        self.marked.discard(key)


class Sieve(Clock):
    """A hand that goes from old to new and around, over a queue that never moves."""

    def __init__(self, capacity: float) -> None:
        super().__init__(capacity)
        self.hand: int | None = None

    def victim(self) -> int:
        order = list(self.sizes)  # from old to new
        at = order.index(self.hand) if self.hand is not None else 0
        while order[at] in self.marked:
            self.marked.discard(order[at])
            at = (at + 1) % len(order)
        self.hand = order[at]
        return order[at]

    def drop(self, key: int) -> None:
        if key == self.hand:
            order = list(self.sizes)
            newer = order.index(key) + 1
            self.hand = order[newer] if newer < len(order) else None
        super().drop(key)


class Lfu(Textbook):
    """The least frequently used goes, of equals the one least recently used."""

    def __init__(self, capacity: float) -> None:
        super().__init__(capacity)
        self.uses: dict[int, tuple[int, int]] = {}

    def hit(self, key: int, put: bool) -> None:
        self.uses[key] = (self.uses[key][0] + 1, self.now)

    def victim(self) -> int:
        return min(self.uses, key=lambda key: self.uses[key])

    def drop(self, key: int) -> None:
        super().drop(key)
        del self.uses[key]

    def admit(self, key: int, size: float) -> None:
        super().admit(key, size)
        self.uses[key] = (1, self.now)

    def put(self, key: int, size: float) -> None:
        """As a service's cell does: what grows stays, unless it is the least frequent itself."""
        if key not in self.sizes or size > self.capacity:
            super().put(key, size)
            return
        while key in self.sizes and self.used() - self.sizes[key] + size > self.capacity:
            self.drop(self.victim())
        super().put(key, size)


def misses(policy: Textbook, accesses: Accesses) -> list[int]:
    """Return for each lookup whether it missed."""
    found = []
    for policy.now, (op, key, size) in enumerate(accesses):
        here = key in policy.sizes
        if op != DELETE:
            policy.asked(key)
        if op == LOOKUP:
            found.append(int(not here))
        if op == DELETE:
            if here:
                policy.drop(key)
            policy.forget(key)
        elif op == SET:
            policy.put(key, size)
        elif here:
            policy.hit(key, put=False)
        elif not math.isnan(size):
            policy.put(key, size)
    return found


def arc_misses(keys: list[int], capacity: int) -> list[int]:
    """Return for each lookup of objects of size 1 whether ARC missed; after Megiddo and Modha, figure 4."""
    t1: OrderedDict[int, None] = OrderedDict()
    t2: OrderedDict[int, None] = OrderedDict()
    b1: OrderedDict[int, None] = OrderedDict()
    b2: OrderedDict[int, None] = OrderedDict()
    target, found = 0.0, []

    def demote(key: int) -> None:
        if t1 and (len(t1) > target or (key in b2 and len(t1) == target)):
            b1[t1.popitem(last=False)[0]] = None
        else:
            b2[t2.popitem(last=False)[0]] = None

    for key in keys:
        found.append(int(key not in t1 and key not in t2))
        if not found[-1]:
            (t1 if key in t1 else t2).pop(key)
            t2[key] = None
        elif key in b1 or key in b2:
            if key in b1:
                target = min(float(capacity), target + max(1.0, len(b2) / len(b1)))
            else:
                target = max(0.0, target - max(1.0, len(b1) / len(b2)))
            demote(key)
            (b1 if key in b1 else b2).pop(key)
            t2[key] = None
        else:
            if len(t1) + len(b1) == capacity:
                if len(t1) < capacity:
                    b1.popitem(last=False)
                    demote(key)
                else:
                    t1.popitem(last=False)
            elif (total := len(t1) + len(t2) + len(b1) + len(b2)) >= capacity:
                if total == 2 * capacity:
                    b2.popitem(last=False)
                demote(key)
            t1[key] = None
    return found


TEXTBOOK: dict[str, Callable[[float], Textbook]] = {
    "fifo": Fifo,
    "lru": Lru,
    "clock": Clock,
    "sieve": Sieve,
    "lfu": Lfu,
}

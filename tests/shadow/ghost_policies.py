"""Textbook code of cache policies with ghosts, ranks or weights, to hold the compiled ones against."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from gnomon.shadow.simulators.cache.model import mixed_seed
from gnomon.shadow.simulators.cache.tinylfu import Sketch, _slot, sketch
from gnomon.shadow.simulators.native import uniform

from .exact_policies import Textbook

Queue = OrderedDict[int, float]


def shrink(queue: Queue, most: float) -> None:
    while queue and sum(queue.values()) > most:
        queue.popitem(last=False)


class Queued(Textbook):
    """Objects enter one queue, ghosts of it another one; subclasses make room."""

    def __init__(self, capacity: float) -> None:
        super().__init__(capacity)
        self.first: Queue = OrderedDict()
        self.main: Queue = OrderedDict()
        self.ghosts: Queue = OrderedDict()
        self.uses: dict[int, int] = {}

    @property
    def sizes(self) -> Queue:  # type: ignore[override]
        return OrderedDict({**self.first, **self.main})

    @sizes.setter
    def sizes(self, _value: Queue) -> None:
        return

    def drop(self, key: int) -> None:
        (self.first if key in self.first else self.main).pop(key)

    def forget(self, key: int) -> None:
        self.ghosts.pop(key, None)

    def hit(self, key: int, put: bool) -> None:
        self.uses[key] = min(3, self.uses[key] + 1)

    def room(self) -> None:
        """Let one object leave, or move on."""
        raise NotImplementedError

    def filling(self) -> bool:
        """Return whether a newcomer enters the main queue."""
        return False

    def put(self, key: int, size: float) -> None:
        sizes = self.sizes
        if key in sizes and self.used() - sizes[key] + size <= self.capacity:
            (self.first if key in self.first else self.main)[key] = size
            self.hit(key, put=True)
            return
        if key in sizes:
            self.drop(key)
        if size > self.capacity:
            return
        known = self.ghosts.pop(key, None) is not None
        while self.used() + size > self.capacity:
            self.room()
        (self.main if known or self.filling() else self.first)[key] = size
        self.uses[key] = 0


class S3Fifo(Queued):
    """As in algorithm 1 of the paper.

    Args:
        whole: thresholds are rounded down to whole units, and the main queue is filled directly
            before anything has left: what libCacheSim does beyond the paper.
    """

    def __init__(self, capacity: float, whole: bool = False) -> None:
        super().__init__(capacity)
        self.small = float(int(capacity * 0.1)) if whole else 0.1 * capacity
        self.whole = whole
        self.left = False

    def filling(self) -> bool:
        return self.whole and not self.left and sum(self.first.values()) >= self.small

    def room(self) -> None:
        self.left = True
        over = sum(self.main.values()) > self.capacity - self.small
        early = over if self.whole else sum(self.first.values()) < self.small
        if self.main and (early or not self.first):
            key, size = self.main.popitem(last=False)
            if self.uses[key] > 0:
                self.uses[key] -= 1
                self.main[key] = size
            return
        key, size = self.first.popitem(last=False)
        if self.uses[key] > 1:
            self.uses[key] = 0
            self.main[key] = size
        else:
            self.ghosts[key] = size
            shrink(self.ghosts, self.capacity - self.small)


class TwoQ(Queued):
    """The full version of the paper."""

    def hit(self, key: int, put: bool) -> None:
        if key in self.main:
            self.main.move_to_end(key)

    def room(self) -> None:
        if not self.main or sum(self.first.values()) > 0.25 * self.capacity:
            key, size = self.first.popitem(last=False)
            self.ghosts[key] = size
            shrink(self.ghosts, 0.5 * self.capacity)
        else:
            self.main.popitem(last=False)


class Gdsf(Textbook):
    """The lowest of clock + uses / size goes, and the clock becomes what it had."""

    def __init__(self, capacity: float) -> None:
        super().__init__(capacity)
        self.clock = 0.0
        self.uses: dict[int, int] = {}
        self.rank: dict[int, tuple[float, int]] = {}

    def hit(self, key: int, put: bool) -> None:
        self.uses[key] += 1
        value = self.clock + self.uses[key] / max(self.sizes[key], 2.0**-53)
        self.rank[key] = (value, self.now)

    def victim(self) -> int:
        key = min(self.sizes, key=lambda each: self.rank[each])
        self.clock = self.rank[key][0]
        return key

    def admit(self, key: int, size: float) -> None:
        super().admit(key, size)
        self.uses[key] = 0
        self.hit(key, put=True)


class LeCaR(Textbook):
    """Algorithm 1 of the paper, with the frequency kept in the histories as in the authors' code.

    Args:
        forgets: frequency begins anew after every eviction, and a victim that both experts name enters
            no history: what libCacheSim does.
        seed: of the draws.
    """

    def __init__(self, capacity: float, forgets: bool = False) -> None:
        super().__init__(capacity)
        self.forgets = forgets
        self.weight = 0.5
        self.uses: dict[int, int] = {}
        self.last: dict[int, int] = {}
        self.left: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self.history: tuple[Queue, Queue] = (OrderedDict(), OrderedDict())
        self.turn = 0
        self.seed = mixed_seed(0)

    def hit(self, key: int, put: bool) -> None:
        self.sizes.move_to_end(key)
        self.uses[key] += 1
        self.last[key] = self.now

    def forget(self, key: int) -> None:
        for history in self.history:
            history.pop(key, None)

    def learn(self, key: int) -> bool:
        """Move the weights when an expert regrets; return whether one does."""
        for expert, history in enumerate(self.history):
            if key in history:
                reward = 0.005 ** ((self.now - self.left[expert][key]) / self.fits())
                weights = [self.weight, 1.0 - self.weight]
                weights[1 - expert] *= math.exp(0.45 * reward)
                self.weight = weights[0] / (weights[0] + weights[1])
                del history[key]
                return True
        return False

    def put(self, key: int, size: float) -> None:
        new = key not in self.sizes
        if new and size <= self.capacity and (not self.learn(key) or self.forgets):
            self.uses[key] = 0
        self.turn = 0
        super().put(key, size)

    def victim(self) -> int:
        names = next(iter(self.sizes)), min(self.sizes, key=lambda k: (self.uses[k], self.last[k]))
        expert = 0 if uniform(self.seed, self.now, self.turn) < self.weight else 1
        self.turn += 1
        key = names[expert]
        if not (self.forgets and names[0] == names[1]):
            self.history[expert][key] = self.sizes[key]
            self.left[expert][key] = self.now
            shrink(self.history[expert], self.capacity)
        return key

    def admit(self, key: int, size: float) -> None:
        super().admit(key, size)
        self.hit(key, put=True)


class WTinyLfu(Textbook):
    """A window, and a segmented main cache whose victims defend their place by frequency."""

    def __init__(self, capacity: float, entries: float) -> None:
        super().__init__(capacity)
        self.window = capacity - math.floor(0.99 * capacity)
        self.parts: tuple[Queue, Queue, Queue] = (OrderedDict(), OrderedDict(), OrderedDict())
        self.known: Sketch = sketch(entries)
        self.counters = np.zeros_like(self.known.counters).tolist()
        self.added = 0

    @property
    def sizes(self) -> Queue:  # type: ignore[override]
        return OrderedDict({k: v for part in self.parts for k, v in part.items()})

    @sizes.setter
    def sizes(self, _value: Queue) -> None:
        return

    def cells(self, key: int) -> list[tuple[int, int]]:
        return [(row, _slot(self.known, key, row)) for row in range(4)]

    def frequency(self, key: int) -> int:
        return min(self.counters[row][slot] for row, slot in self.cells(key))

    def asked(self, key: int) -> None:
        lowest = self.frequency(key)
        for row, slot in self.cells(key):
            if self.counters[row][slot] == lowest < 15:
                self.counters[row][slot] += 1
        self.added += 1
        if self.added >= 10 * self.fits():
            self.added //= 2
            self.counters = [[each // 2 for each in row] for row in self.counters]

    def drop(self, key: int) -> None:
        for part in self.parts:
            part.pop(key, None)

    def hit(self, key: int, put: bool) -> None:
        window, probation, protected = self.parts
        if key in window:
            window.move_to_end(key)
        else:
            size = self.sizes[key]
            self.drop(key)
            protected[key] = size
            while sum(protected.values()) > 0.8 * (self.capacity - self.window):
                oldest, size = protected.popitem(last=False)
                probation[oldest] = size
        self.settle()

    def settle(self) -> None:
        window, probation, _ = self.parts
        while sum(window.values()) > self.window:
            candidate, size = window.popitem(last=False)
            probation[candidate] = size
            self.contest(candidate)

    def contest(self, candidate: int) -> None:
        window, probation, protected = self.parts
        while self.used() > self.capacity:
            others = [key for key in probation if key != candidate]
            victim = [*others, *protected, *window, candidate][0]
            if self.frequency(candidate) <= self.frequency(victim):
                self.drop(candidate)
                return
            self.drop(victim)

    def put(self, key: int, size: float) -> None:
        sizes = self.sizes
        if key in sizes and self.used() - sizes[key] + size <= self.capacity:
            next(part for part in self.parts if key in part)[key] = size
            self.hit(key, put=True)
            return
        self.drop(key)
        if size <= self.capacity:
            self.parts[0][key] = size
            self.settle()
            while self.used() > self.capacity:
                window, probation, protected = self.parts
                self.drop([*probation, *protected, *window][0])


Made = Callable[[float, float], Textbook]
#: Textbook policies by name: of a capacity and the objects that fit.
GHOSTS: dict[str, Made] = {
    "s3_fifo": lambda capacity, entries: S3Fifo(capacity),
    "two_q": lambda capacity, entries: TwoQ(capacity),
    "gdsf": lambda capacity, entries: Gdsf(capacity),
    "lecar": lambda capacity, entries: LeCaR(capacity),
    "w_tiny_lfu": WTinyLfu,
}

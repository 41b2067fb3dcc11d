"""Cells whose policy is an order that every access keeps: LRU, FIFO and LFU, exactly."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Any

from .cell import MISSING


class LruCell:
    """The least recently used object leaves.

    Args:
        capacity: most that is held.
        sized: whether sizes differ; without, every object has size 1.
    """

    __slots__ = ("_sizes", "capacity", "data", "evicted", "held")

    def __init__(self, capacity: float, sized: bool) -> None:
        self.capacity = capacity
        self.held: float = 0
        self.evicted: Callable[[Hashable], object] | None = None
        self.data: OrderedDict[Any, Any] = OrderedDict()
        self._sizes: dict[Any, float] | None = {} if sized else None

    def __len__(self) -> int:
        return len(self.data)

    def __contains__(self, key: object) -> bool:
        return key in self.data

    def __iter__(self) -> Iterator[Any]:
        return iter(self.data)

    def lookup(self, key: Hashable) -> Any:
        """Return the value and count an access, or MISSING."""
        data = self.data
        value = data.get(key, MISSING)
        if value is not MISSING:
            data.move_to_end(key)
        return value

    def peek(self, key: Hashable) -> Any:
        """Return the value without an access, or MISSING."""
        return self.data.get(key, MISSING)

    def size_of(self, key: Hashable) -> float:
        """Return the size of an object that is held."""
        return 1 if self._sizes is None else self._sizes[key]

    def put(self, key: Hashable, value: Any, size: float, completes: bool = False) -> bool:
        """Take an object in, or give it another value, and return whether it is held now."""
        data = self.data
        if self._sizes is None and key not in data and self.held + 1 <= self.capacity:
            self.held += 1
            data[key] = value
            return True
        return self._fit(key, value, size)

    def _fit(self, key: Hashable, value: Any, size: float) -> bool:
        if size > self.capacity:
            self.remove(key)
            return False
        while self.held + size - self._now(key) > self.capacity:
            self._evict()
        self._keep(key, value, size)
        return True

    def _now(self, key: Hashable) -> float:
        """Return the size that an object takes up at present."""
        return self.size_of(key) if key in self.data else 0

    def _keep(self, key: Hashable, value: Any, size: float) -> None:
        self.held += size - self._now(key)
        if self._sizes is not None:
            self._sizes[key] = size
        self.data[key] = value
        self.data.move_to_end(key)

    def _evict(self) -> None:
        key, _ = self.shed()
        if self.evicted is not None:
            self.evicted(key)

    def remove(self, key: Hashable) -> Any:
        """Remove an object and return its value, or MISSING."""
        value = self.data.pop(key, MISSING)
        if value is not MISSING:
            self._left(key)
        return value

    def shed(self) -> tuple[Any, Any]:
        """Remove the next object to go and return key and value; KeyError when there is none."""
        key, value = self.data.popitem(last=False)
        self._left(key)
        return key, value

    def _left(self, key: Hashable) -> None:
        self.held -= 1 if self._sizes is None else self._sizes.pop(key)
        if not self.data:
            self.held = 0  # sums of floats do not come back to nothing by themselves

    def clear(self) -> None:
        """Remove everything."""
        self.data.clear()
        self.held = 0
        if self._sizes is not None:
            self._sizes.clear()

    def mend(self) -> None:
        """Drop what has no size or no value, and add up again."""
        sizes = self._sizes
        if sizes is not None:
            for key in sizes.keys() ^ self.data.keys():
                sizes.pop(key, None)
                self.data.pop(key, None)
        self.held = len(self.data) if sizes is None else sum(sizes.values())


class FifoCell(LruCell):
    """The object that was put first leaves; putting it again makes it the last."""

    __slots__ = ()

    def lookup(self, key: Hashable) -> Any:
        """Return the value, or MISSING."""
        return self.data.get(key, MISSING)


class LfuCell(LruCell):
    """The least frequently used object leaves, of equals the one that came to that count first."""

    __slots__ = ("_counts", "_least", "_ranks")

    def __init__(self, capacity: float, sized: bool) -> None:
        super().__init__(capacity, sized)
        self._counts: dict[Any, int] = {}
        self._ranks: dict[int, OrderedDict[Any, None]] = {}
        self._least = 0

    def lookup(self, key: Hashable) -> Any:
        """Return the value and count an access, or MISSING."""
        value = self.data.get(key, MISSING)
        if value is not MISSING:
            self._touch(key)
        return value

    def put(self, key: Hashable, value: Any, size: float, completes: bool = False) -> bool:
        """Take an object in, or give it another value, and return whether it is held now."""
        return self._fit(key, value, size)

    def _keep(self, key: Hashable, value: Any, size: float) -> None:
        super()._keep(key, value, size)
        self._touch(key)

    def _touch(self, key: Hashable) -> None:
        count = self._counts.get(key, 0)
        self._counts[key] = count + 1
        self._ranks.setdefault(count + 1, OrderedDict())[key] = None
        if count:
            self._unrank(key, count)
        else:
            self._least = 1

    def _unrank(self, key: Hashable, count: int) -> None:
        rank = self._ranks[count]
        del rank[key]
        if not rank:
            del self._ranks[count]
            if count == self._least:
                follows = count + 1  # where an access has just put the object
                self._least = follows if follows in self._ranks else min(self._ranks, default=0)

    def shed(self) -> tuple[Any, Any]:
        """Remove the next object to go and return key and value; KeyError when there is none."""
        if not self.data:
            raise KeyError("nothing is held")
        key = next(iter(self._ranks[self._least]))
        return key, self.remove(key)

    def _left(self, key: Hashable) -> None:
        super()._left(key)
        self._unrank(key, self._counts.pop(key))

    def clear(self) -> None:
        """Remove everything."""
        super().clear()
        self._counts.clear()
        self._ranks.clear()
        self._least = 0

    def mend(self) -> None:
        """Rank all objects anew, in the order that they have."""
        super().mend()
        self._counts = {key: max(self._counts.get(key, 1), 1) for key in self.data}
        self._ranks = {}
        for key, count in self._counts.items():
            self._ranks.setdefault(count, OrderedDict())[key] = None
        self._least = min(self._ranks, default=0)


#: Policies that a cache may have in the service's own source.
INCUMBENTS: dict[str, type[LruCell]] = {"fifo": FifoCell, "lfu": LfuCell, "lru": LruCell}

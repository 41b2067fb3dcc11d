"""What every cell of a cache can do."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any, Final, Protocol


class _Missing:
    """The answer of a lookup that finds nothing; None is a value like any other."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()


class Cell(Protocol):
    """Objects under one policy, and never more than a capacity of them.

    Attributes:
        evicted: called with the key of every object that the policy removed; None for nobody.
    """

    evicted: Callable[[Hashable], object] | None

    @property
    def capacity(self) -> float:
        """Most that is held, in the unit of sizes."""
        ...

    @capacity.setter
    def capacity(self, capacity: float, /) -> None: ...

    @property
    def held(self) -> float:
        """Sum of the sizes."""
        ...

    def __len__(self) -> int:
        """Return how many objects are held."""
        ...

    def __contains__(self, key: object) -> bool:
        """Return whether an object is held; that is no access."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """Return the keys."""
        ...

    def lookup(self, key: Hashable) -> Any:
        """Return the value and count an access, or MISSING."""

    def peek(self, key: Hashable) -> Any:
        """Return the value without an access, or MISSING."""

    def size_of(self, key: Hashable) -> float:
        """Return the size of an object that is held."""
        ...

    def put(self, key: Hashable, value: Any, size: float, completes: bool = False) -> bool:
        """Take an object in, or give it another value, and return whether it is held now.

        Args:
            key: of the object.
            value: of the object.
            size: of the value.
            completes: whether this belongs to a lookup that missed, and is no access of its own.
        """
        ...

    def remove(self, key: Hashable) -> Any:
        """Remove an object and return its value, or MISSING."""

    def shed(self) -> tuple[Any, Any]:
        """Remove the next object to go and return key and value; KeyError when there is none."""
        ...

    def clear(self) -> None:
        """Remove everything."""

    def mend(self) -> None:
        """Be consistent again after an operation that an exception cut off; drop what is in doubt."""

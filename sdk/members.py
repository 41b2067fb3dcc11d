"""Who the items of a hook are, and when each was last picked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


class Members:
    """The items of the last call, by position.

    Immutable but for ``last``: a change of items makes a new object, so that a call that began with
    the old one ends with it.

    Attributes:
        items: the item objects; held, so that no other object can take one's ``id``.
        size: how many there are.
        names: one per item.
        index: position by ``id`` of the item.
        last: number of the decision that last picked the item, per position.
    """

    __slots__ = ("index", "items", "last", "names", "size")

    def __init__(self, items: tuple[Any, ...], names: tuple[str, ...], last: list[int]) -> None:
        self.items = items
        self.size = len(items)
        self.names = names
        self.index = {id(item): i for i, item in reversed(list(enumerate(items)))}
        self.last = last

    def position(self, picked: Any) -> int:
        """Return the position of what the incumbent returned, or -1 when it is none of the items."""
        found = self.index.get(id(picked), -1)
        return found if found >= 0 else self._equal(picked)

    def _equal(self, picked: Any) -> int:
        try:
            return self.items.index(picked)
        except Exception:  # noqa: BLE001 - an item's own __eq__ may raise anything
            return -1


NOBODY = Members((), (), [])


def join(
    before: Members, items: Sequence[Any], name: Callable[[Any], str] | None, seq: int
) -> Members:
    """Return the members after a change of items; those that stay keep their last pick.

    An item that is new counts as picked just before, so that it is not flooded; at the first call
    that is every item. Raises TypeError when ``items`` is not a sequence.
    """
    if not hasattr(items, "__getitem__") or hasattr(items, "keys"):
        raise TypeError(f"items must be a sequence such as a list, not {type(items).__name__}")
    held = tuple(items)
    names = tuple(_name(item, i, name) for i, item in enumerate(held))
    known = dict(zip(before.names, before.last, strict=True))
    return Members(held, names, [known.get(n, seq - 1) for n in names])


def _name(item: Any, position: int, name: Callable[[Any], str] | None) -> str:
    if name is not None:
        return str(name(item))
    return item if isinstance(item, str) else str(position)

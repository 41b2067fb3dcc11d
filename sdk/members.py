"""Who the items of a hook are, and when each was last picked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import is_
from typing import Any

#: Equal ones are the same to any policy; of other types only an ``==`` of ``object`` tells nothing but identity.
_VALUES = (str, int, bytes)


class Members:
    """The items of the last call, by position.

    Immutable but for ``last``: a change of items makes a new object, so that a call that began with
    the old one ends with it.

    Attributes:
        items: the item objects; held, so that no other object can take one's ``id``.
        held: the same as a list or tuple, whichever the service passes: ``==`` to the items of a
            call tells at once whether anything changed.
        form: the type of ``held``; a type that nothing has, where ``==`` could mislead.
        size: how many there are.
        names: one per item.
        index: position by ``id`` of the item.
        last: number of the decision that last picked the item, per position; kept up to date while
            a program may be asked.
        loose: whether what is returned for an item may be equal to it and change before it is recorded.
        read: these items to the features of each, one after the other; set by the hook.
    """

    __slots__ = ("form", "held", "index", "items", "last", "loose", "names", "read", "size")

    def __init__(
        self, items: tuple[Any, ...], names: tuple[str, ...], last: list[int], form: type
    ) -> None:
        self.items = items
        self.form = form
        self.loose = False
        self.held: Any = items if form is tuple else list(items)
        self.size = len(items)
        self.names = names
        self.index = {id(item): i for i, item in reversed(list(enumerate(items)))}
        self.last = last
        self.read: Callable[[Any], tuple[Any, ...]] = tuple

    def position(self, picked: Any) -> int:
        """Return the position of what the incumbent returned, or -1 when it is none of the items."""
        found = self.index.get(id(picked), -1)
        return found if found >= 0 else self._equal(picked)

    def changed(self, items: Any) -> bool:
        """Return whether items are other objects than these; never raises."""
        try:
            return len(items) != self.size or not all(map(is_, items, self.items))
        except Exception:  # noqa: BLE001 - whatever the service passed is looked at again
            return True

    def _equal(self, picked: Any) -> int:
        try:
            return self.items.index(picked)
        except Exception:  # noqa: BLE001 - an item's own __eq__ may raise anything
            return -1


class _NoForm:
    """The type of no items."""


#: Before the first call; no items are the same, not even none.
NOBODY = Members((), (), [], _NoForm)
NOBODY.size = -1


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
    loose = not all(map(_plain, held))
    # ``==`` of two lists tells whether anything changed where it compares items by identity, or by
    # value where that is all.
    form = type(items) if type(items) in (list, tuple) and not loose else _NoForm
    members = Members(held, names, [known.get(n, seq - 1) for n in names], form)
    members.loose = loose
    return members


def _plain(item: Any) -> bool:
    equal: Any = type(item).__eq__
    return type(item) in _VALUES or equal is object.__eq__


def _name(item: Any, position: int, name: Callable[[Any], str] | None) -> str:
    if name is not None:
        return str(name(item))
    return item if isinstance(item, str) else str(position)

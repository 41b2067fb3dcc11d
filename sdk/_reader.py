"""Copying what the items look like: for a number of items, one expression without a loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ._inline import inlined
from .kind import Feature

Floats = tuple[float, ...]
Read = Callable[[Any], tuple[Any, ...]]
#: Items up to which a reader is written out; beyond it a loop costs little more.
_WRITTEN = 64


class Readers:
    """Makes what copies the features of a hook's items.

    Written out for eight items of three features it takes half the time of the loop. Compiling it takes a
    millisecond, so that the drainer does it: the request path begins with the loop.

    Args:
        features: one item to a tuple of its features.
        width: how many there are.

    Attributes:
        flat: whether a reader gives the values of all items one after the other, which it does where the
            accessor's expression is known; otherwise it gives one row per item, as the accessor made it.
    """

    def __init__(self, features: Callable[[Any], tuple[Any, ...]], width: int) -> None:
        self._features = features
        found = inlined(features, ("b",), "g_f_")
        elements = found.elements if found is not None else None
        self.flat = elements is not None and len(elements) == width > 0
        self._written: dict[int, Read] = {}
        self._loop = self._compiled(_loop(self._values("b")))

    def ready(self, items: int) -> Read:
        """Return a reader of so many items that can be had at once."""
        return self._written.get(items, self._loop)

    def written(self, items: int) -> Read:
        """Return the fastest reader of so many items; the first time, it is made."""
        if not 0 < items <= _WRITTEN:
            return self._loop
        if items not in self._written:
            self._written[items] = self._compiled(self._whole(items))
        return self._written[items]

    def _whole(self, items: int) -> Iterator[str]:
        names = [f"b{i}" for i in range(items)]
        yield f" {', '.join(names)}, = items"
        yield f" return ({', '.join(map(self._values, names))},)"

    def _values(self, name: str) -> str:
        """Return an item's features as text that stands in a tuple of all values, or of all rows."""
        found = inlined(self._features, (name,), "g_f_")
        if self.flat and found is not None and found.elements is not None:
            return ", ".join(found.elements)
        return f"g_features({name})" if found is None else found.text

    def _compiled(self, lines: Iterator[str]) -> Read:
        found = inlined(self._features, ("b",), "g_f_")
        space: dict[str, Any] = {"g_features": self._features}
        space |= found.space if found is not None else {}
        text = "\n".join(("def read(items):", *lines))
        exec(compile(text, "<gnomon read>", "exec"), space)  # noqa: S102 - our own text
        read: Read = space["read"]
        return read


def _loop(values: str) -> Iterator[str]:
    yield " seen = []"
    yield " for b in items:"
    yield f"  seen += {values},"
    yield " return (*seen,)"


def extender(features: Sequence[Feature], flat: bool) -> Callable[..., tuple[Floats, bool]]:
    """Return a function that adds the host's features to what a reader gave.

    It takes that, the number of the decision that last picked each item, this decision's number and the
    draws of noise, and returns all features, and whether the service's own lie in their ranges. It raises
    for a row of another length, another number of items and a value that is no number. Generated,
    because the drainer runs it for every record.

    Args:
        features: of the kind's own.
        flat: as :attr:`Readers.flat`.
    """
    names = [f"v{i}" for i in range(len(features))]
    row = "".join(f"{name}, " for name in names)
    every = (
        f"zip({'values, ' * len(names)}last, strict=True)"
        if flat
        else "zip(seen, last, strict=True)"
    )
    inside = [
        f"{n} >= {_bound(f.low)} and {n} <= {_bound(f.high)}"
        for n, f in zip(names, features, strict=True)
    ]
    source = "\n".join(
        (
            "def extend(seen, last, seq, draw):",
            " values = iter(seen)",
            " full = []",
            " inside = True",
            f" for {row if flat else f'({row}), '}at in {every}:",
            *(f"  {name} = float({name})" for name in names),
            *(f"  if not ({each}): inside = False" for each in inside),
            "  since = seq - at",
            f"  full += {row}since + 0.0 if since > 1 else 1.0, draw()",
            " return tuple(full), inside",
        )
    )
    space: dict[str, Any] = {}
    exec(compile(source, "<gnomon extend>", "exec"), space)  # noqa: S102 - our own text
    extend: Callable[..., tuple[Floats, bool]] = space["extend"]
    return extend


def _bound(value: float) -> str:
    return repr(float(value)).replace("inf", "1e999")

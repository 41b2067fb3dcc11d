"""A lowered expression: text, and what is known of its value."""

from __future__ import annotations

from typing import NamedTuple


class Value(NamedTuple):
    """A lowered expression.

    Attributes:
        text: Python expression, in brackets unless it is an atom.
        finite: whether it is known to be finite.
        atom: whether the text is a name or a number, so that repeating it costs nothing.
        number: the value of a constant, else None.
    """

    text: str
    finite: bool
    atom: bool = False
    number: float | None = None


def constant(number: float) -> Value:
    """Return the value of a number, written so that it reads back as the same bits."""
    text = repr(number)
    return Value(f"({text})" if text.startswith("-") else text, True, True, number)

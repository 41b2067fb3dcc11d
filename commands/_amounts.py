"""Amounts on the command line: ages and sizes, each a number with a unit."""

from __future__ import annotations

from ..sdk.errors import ConfigurationError
from ._rollout import seconds

_SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_MOST = 1 << 62


def size(text: str) -> int:
    """Return the bytes of a size such as ``500M`` or ``1.5G``; K is 1,024 bytes, M 1,024 K and so on.

    Raises:
        ConfigurationError: it is not a number with one of the units.
    """
    number = text.rstrip("KMGT")
    try:
        value = float(number) * _SIZES[text[len(number) :]]
    except (ValueError, KeyError) as error:
        raise ConfigurationError(f"{text!r} is no size; write 500M, 1.5G or 2T") from error
    if not 0 <= value < _MOST:
        raise ConfigurationError(f"{text!r} is no size; it must be finite and not negative")
    return int(value)


def age(text: str | None) -> float | None:
    """Return the seconds of a duration, or None where none is given or it says ``off``."""
    return None if text is None or text == "off" else seconds(text)


def bytes_of(text: str | None) -> int | None:
    """Return the bytes of a size, or None where none is given."""
    return None if text is None else size(text)

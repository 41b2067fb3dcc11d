"""From JSON values to a rule: exactly the fields of its shape, each of its type, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, get_args

from ..errors import ConfigurationError
from .base import Rule
from .program import PROGRAM_RULES, Direction
from .score import SCORE_RULES, Compare, End

#: All shapes by the name that files use.
SHAPES: Mapping[str, type[Rule]] = {each.SHAPE: each for each in (*SCORE_RULES, *PROGRAM_RULES)}
#: No rule counts so high: neither items nor elements.
_MOST_COUNT = 10**9
_LONGEST = 100  # characters of a name


def rule_of(value: Any) -> Rule:
    """Return the rule that JSON values state.

    Raises:
        ConfigurationError: an unknown shape, a missing or strange field, or a value of another type.
    """
    if not isinstance(value, dict):
        raise ConfigurationError(f"a rule is an object with a shape, not {type(value).__name__}")
    shape = value.get("shape")
    made = SHAPES.get(shape) if isinstance(shape, str) else None
    if made is None:
        raise ConfigurationError(
            f"shape {str(shape)[:_LONGEST]!r} is unknown; there are {', '.join(sorted(SHAPES))}"
        )
    wanted = {field.name: str(field.type) for field in fields(made)}  # type: ignore[arg-type]
    if value.keys() != {"shape", *wanted}:
        raise ConfigurationError(
            f"a rule of shape {shape} has the fields {', '.join(wanted)}; "
            f"this one has {', '.join(sorted(str(key)[:_LONGEST] for key in value))}"
        )
    return made(**{name: _value(name, value[name], kind) for name, kind in wanted.items()})


def _value(name: str, value: Any, kind: str) -> Any:
    read = _TYPES[kind](value)
    if read is None:
        raise ConfigurationError(
            f"{name} of a rule is {str(value)[:_LONGEST]!r}; it must be {_WORDS[kind]}"
        )
    return read


def _text(value: Any) -> str | None:
    usable = isinstance(value, str) and value.isidentifier() and len(value) <= _LONGEST
    return value if usable and not value.startswith("_") else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _count(value: Any) -> int | None:
    usable = isinstance(value, int) and not isinstance(value, bool)
    return value if usable and abs(value) <= _MOST_COUNT else None


def _texts(value: Any) -> tuple[str, ...] | None:
    if not isinstance(value, list) or len(value) > _LONGEST:
        return None
    return tuple(value) if all(_text(each) is not None for each in value) else None


def _one_of(literal: Any) -> Callable[[Any], str | None]:
    known = get_args(literal)
    return lambda value: value if isinstance(value, str) and value in known else None


_LITERALS = {"Compare": Compare, "End": End, "Direction": Direction}
_TYPES: dict[str, Callable[[Any], Any]] = {
    "str": _text,
    "float": _number,
    "int": _count,
    "tuple[str, ...]": _texts,
    **{name: _one_of(literal) for name, literal in _LITERALS.items()},
}
_WORDS = {
    "str": "a name",
    "float": "a finite number",
    "int": "a whole number",
    "tuple[str, ...]": "a list of names",
    **{name: " or ".join(get_args(literal)) for name, literal in _LITERALS.items()},
}

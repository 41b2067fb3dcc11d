"""Whether what a saved trace holds is of the types that the class of the trace declares."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

#: What a value of JSON may be where a type is declared.
_PLAIN: dict[Any, tuple[type, ...]] = {int: (int,), float: (int, float), str: (str,), bool: (bool,)}


def require_types(
    kind: type, head: Mapping[str, Any], columns: Mapping[str, npt.NDArray[Any]]
) -> None:
    """Raise ValueError for a value or a column of another type than the class declares.

    Compiled code is made for the types of its columns, and comparisons of a head's values are no place to
    find out. What is declared in another way (a mapping, a type that is not known at run time) is not tested.
    """
    try:
        declared = typing.get_type_hints(kind)
    except NameError:  # a plug-in's, imported for type checkers only
        return
    for name, value in head.items():
        if not _fits(value, declared.get(name)):
            raise ValueError(f"{name!r} is {value!r:.50}")
    for name, column in columns.items():
        wanted = _element(declared.get(name))
        if wanted is not None and column.dtype.kind != np.dtype(wanted).kind:
            raise ValueError(f"column {name!r} is of type {column.dtype}")


def _fits(value: Any, declared: Any) -> bool:
    if typing.get_origin(declared) is tuple:
        element = typing.get_args(declared)[0]
        return isinstance(value, tuple) and all(_fits(each, element) for each in value)
    allowed = _PLAIN.get(declared)
    return allowed is None or (
        isinstance(value, allowed) and (declared is bool or not isinstance(value, bool))
    )


def _element(declared: Any) -> Any:
    """Return the type of an array's elements, where it is declared."""
    parts = typing.get_args(declared)
    if typing.get_origin(declared) is not np.ndarray or len(parts) < 2:
        return None
    found = typing.get_args(parts[1])
    known = found and isinstance(found[0], type) and issubclass(found[0], np.generic)
    return found[0] if known else None

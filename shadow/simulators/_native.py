"""How simulators are compiled: kept on disk, and without the interpreter's lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba as nb

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def native(function: FunctionT) -> FunctionT:
    """Compile a function that may make arrays."""
    return _compiled(function, {})


def lean(function: FunctionT) -> FunctionT:
    """Compile a function that makes no arrays, without counting references to those it is given.

    Counting them at every access to a field of a named tuple costs a load balancer's replay eight
    times its speed.
    """
    return _compiled(function, {"_nrt": False})


def inlined(function: FunctionT) -> FunctionT:
    """As :func:`lean`, and made a part of every caller.

    A named tuple of ten arrays is seventy arguments, which cost more to hand over than a cache's
    access to serve.
    """
    return _compiled(function, {"_nrt": False, "forceinline": True})


def _compiled(function: FunctionT, options: dict[str, Any]) -> FunctionT:
    njit: Any = nb.njit
    compiled: FunctionT = njit(cache=True, nogil=True, **options)(function)
    return compiled

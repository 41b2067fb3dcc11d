"""How simulators are compiled: kept on disk, and without the interpreter's lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba as nb

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def native(function: FunctionT) -> FunctionT:
    """Compile a function that may make arrays."""
    compiled: FunctionT = nb.njit(cache=True, nogil=True)(function)
    return compiled


def lean(function: FunctionT) -> FunctionT:
    """Compile a function that makes no arrays, without counting references to those it is given.

    Counting them at every access to a field of a named tuple costs a load balancer's replay eight
    times its speed.
    """
    compiled: FunctionT = nb.njit(cache=True, nogil=True, _nrt=False)(function)
    return compiled

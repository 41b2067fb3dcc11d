"""The helpers that lowered text calls, for the Python tier; the compiled tier has its own by these names.

A helper never raises for any float64 argument that the lowering can give it. Where there is no exact
or finite result it returns NaN, which the lowering then turns into a fault.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ._names import WHOLE_LIMIT

_NAN = math.nan
_LOW, _HIGH = -WHOLE_LIMIT, WHOLE_LIMIT


def _floor(x: float) -> float:
    return x // 1.0 + 0.0 if _LOW <= x <= _HIGH else _NAN


def _ceil(x: float) -> float:
    return 0.0 - (-x // 1.0) if _LOW <= x <= _HIGH else _NAN


def _trunc(x: float) -> float:
    return float(int(x)) if _LOW <= x <= _HIGH else _NAN


def _round(x: float) -> float:
    return float(round(x)) if _LOW <= x <= _HIGH else _NAN


def _pow(x: float, y: float, power: Callable[[float, float], float] = math.pow) -> float:
    try:
        return power(x, y)
    except (ValueError, OverflowError):
        return _NAN


#: Functions of ``math`` that need no helper: the lowering tests their domain before the call.
PLAIN = (
    "atan",
    "atan2",
    "copysign",
    "cos",
    "exp",
    "expm1",
    "log",
    "log10",
    "log1p",
    "log2",
    "sin",
    "sqrt",
    "tanh",
)


def namespace() -> dict[str, Any]:
    """Return fresh globals for lowered text; they hold nothing but these helpers."""
    helpers: dict[str, Any] = {f"_{name}": getattr(math, name) for name in PLAIN}
    helpers |= {"_floor": _floor, "_ceil": _ceil, "_trunc": _trunc, "_round": _round, "_pow": _pow}
    helpers["_NAN"] = _NAN
    helpers["__builtins__"] = {"abs": abs, "int": int, "range": range}
    return helpers

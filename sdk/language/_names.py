"""What a policy may call and read besides its own names: the one table behind checker and tiers."""

from __future__ import annotations

import math

#: Whole numbers are exact in float64 up to here; rounding beyond it is a fault.
WHOLE_LIMIT = 2.0**53
#: Largest x whose exp(x) is finite.
EXP_LIMIT = 709.782712893384

#: Fuel of ``//`` and ``%``, of numbers beside their node's and of arrays for each element: of numbers that
#: lie far apart they are computed bit by bit, which takes some fifty times as long as an addition.
REMAINDER_FUEL = 20

#: Built-in functions by name: the fewest and the most arguments.
BUILTINS: dict[str, tuple[int, int]] = {
    "abs": (1, 1),
    "float": (1, 1),
    "int": (1, 1),
    "max": (1, 400),
    "min": (1, 400),
    "round": (1, 1),
    "sum": (1, 1),
}
#: Built-ins that also take one tuple, list or generator display.
FOLDS = frozenset({"max", "min", "sum"})

#: Functions of ``math`` by name: number of arguments.
MATH: dict[str, int] = {
    "atan": 1,
    "atan2": 2,
    "ceil": 1,
    "copysign": 2,
    "cos": 1,
    "exp": 1,
    "expm1": 1,
    "fabs": 1,
    "floor": 1,
    "log": 1,
    "log10": 1,
    "log1p": 1,
    "log2": 1,
    "pow": 2,
    "sin": 1,
    "sqrt": 1,
    "tanh": 1,
    "trunc": 1,
}
MATH_CONSTANTS: dict[str, float] = {"e": math.e, "pi": math.pi, "tau": math.tau}

#: Names that a policy may not bind.
RESERVED = frozenset(BUILTINS) | {"math", "range"}
